"""Reading and writing the convolutions of a graph with explicit Q/DQ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from visiondeploy.calibration.graph import CONVOLUTIONS, GraphIndex, attributes
from visiondeploy.types import Array


@dataclass(frozen=True, slots=True)
class Codes:
    """An initializer that a DequantizeLinear reads: value = codes·scale, with zero point 0.

    `scale` has the rank of `codes`, with one entry for each slice along `axis` of an initializer that has a
    scale by channel, and a single entry for one that has not.
    """

    name: str
    codes: Array
    scale: Array

    @property
    def value(self) -> Array:
        """What the codes stand for, float64 of their shape."""
        return self.codes * self.scale


def convolutions_of(
    fp32: onnx.ModelProto, quantised: onnx.ModelProto
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """The convolutions that both graphs have under one name, fp32's first, in the order of the Q/DQ graph."""
    known = {node.name: node for node in fp32.graph.node if node.op_type in CONVOLUTIONS and node.name}
    for node in quantised.graph.node:
        if node.op_type in CONVOLUTIONS and node.name in known:
            yield known[node.name], node


def codes_of(index: GraphIndex, tensor: str) -> Codes | None:
    """The codes behind a dequantised constant; None for anything else, a zero point other than 0 included."""
    maker = index.maker(tensor)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    codes, scale = index.constant(maker.input[0]), index.constant(maker.input[1])
    zero = index.constant(maker.input[2]) if len(maker.input) > 2 and maker.input[2] else np.zeros(1)
    if codes is None or scale is None or zero is None or zero.any():
        return None
    if scale.ndim == 1 and scale.size > 1:
        axis = attributes(maker).get("axis", 1) % codes.ndim
        scale = scale.reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
    elif scale.size == 1:
        scale = scale.reshape([1] * codes.ndim)
    else:
        return None
    return Codes(maker.input[0], codes, scale.astype(np.float64))


def replace_constant(graph: onnx.GraphProto, name: str, value: Array) -> None:
    """Give the initializer `name` another value, in the type that it has."""
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    dtype = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
