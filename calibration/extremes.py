"""How large the values of a graph become on real samples, for a type of arithmetic whose range ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.graph import copy_of
from visiondeploy.calibration.probe import Probe
from visiondeploy.errors import InputError
from visiondeploy.types import Array

_MARK = "visiondeploy/"


def largest_values(model: onnx.ModelProto, samples: Iterable[Mapping[str, Array]], threads: int) -> dict[str, float]:
    """The largest magnitude of each float32 tensor that the graph computes, over all of `samples`.

    The extremes are taken within the graph, so that no tensor leaves the runtime and memory is that of a plain run.
    Raises `InputError` where a tensor has a value that is not finite; the message names it.
    """
    measured = copy_of(model)
    wanted: list[str] = []
    for tensor in _floats(model):
        for kind in ("ReduceMax", "ReduceMin"):
            wanted.append(f"{_MARK}{kind}/{tensor}")
            measured.graph.node.append(helper.make_node(kind, [tensor], wanted[-1:], name=wanted[-1], keepdims=0))
    probe = Probe(measured, wanted, threads)
    found = dict.fromkeys(wanted, 0.0)
    for feeds in samples:
        for name, value in probe(feeds).items():
            if not np.isfinite(value):
                raise InputError(
                    f"tensor {_tensor(name)}: its values are not finite in fp32, so that none are in fp16."
                )
            found[name] = max(found[name], abs(float(value)))
    values: dict[str, float] = {}
    for name, extreme in found.items():
        values[_tensor(name)] = max(values.get(_tensor(name), 0.0), extreme)
    return values


def largest_weights(model: onnx.ModelProto) -> dict[str, float]:
    """The largest magnitude of each float32 constant of the graph."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for given in node.attribute if node.op_type == "Constant" else ():
            if given.name == "value":
                stored[node.output[0]] = given.t
    arrays = {
        name: numpy_helper.to_array(tensor) for name, tensor in stored.items() if tensor.data_type == TensorProto.FLOAT
    }
    return {name: float(np.abs(array).max(initial=0.0)) for name, array in arrays.items()}


def _tensor(name: str) -> str:
    """The tensor that an extreme is of."""
    return name.removeprefix(_MARK).partition("/")[2]


def _floats(model: onnx.ModelProto) -> list[str]:
    """The float32 tensors that the graph's nodes compute, in its order."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    # What a Constant holds is a constant, and may be empty.
    return [
        name
        for node in model.graph.node
        for name in (node.output if node.op_type != "Constant" else ())
        if name and types.get(name) == TensorProto.FLOAT
    ]
