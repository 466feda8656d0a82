"""The `cpu` scheme: uint8 activations, int8 weights by output channel, int32 bias, as explicit Q/DQ.

    q = clip(round(x / scale) + zero_point, 0, 255)        x̂ = (q − zero_point)·scale

(Jacob et al. 2018, arXiv:1712.05877.) Q/DQ pairs stand where the runtimes fuse them away:

    DQ ─► Conv ─► ReLU ─► Q       one integer convolution: with zero point 0, Q clips as the ReLU does
    DQ ─► MaxPool ─► Q            same scale on both sides, since a maximum makes no new value
    DQ, DQ ─► Concat ─► Q         each branch keeps its own scale; one shared scale would make the
                                  skip signed, the ReLU would no longer fold, and it costs codes
    DQ ─► Conv ─► logits          the output of the graph stays float: rounding it would move the argmax
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.graph import GraphIndex, attribute
from visiondeploy.calibration.observers import AFFINE_UINT8, Range
from visiondeploy.types import Array

TARGET = AFFINE_UINT8
"""What the observers are to find the ranges for."""

CONVOLUTIONS = ("Conv", "ConvTranspose")
ACTIVATIONS = ("Relu", "Clip")
SAME_SCALE = ("MaxPool",)
BETWEEN = (*SAME_SCALE, "Concat", "Add")
"""Operators that the runtimes run on integers when what they read and write is quantised."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """The Q/DQ graph, and which convolutions are meant to run in int8 or were left in float."""

    model: onnx.ModelProto
    int8: tuple[str, ...]
    left_in_float: tuple[str, ...]


def tensors_to_observe(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that `quantise` needs the range of, in graph order.

    These are what convolutions read, and, going backwards, what the operators in `BETWEEN` read where
    their result is quantised, so that integers flow from one convolution to the next.
    """
    index = GraphIndex(model.graph)
    wanted: dict[str, None] = {}
    pending = [node.input[0] for node in model.graph.node if node.op_type in CONVOLUTIONS]
    while pending:
        tensor = pending.pop()
        if tensor in wanted or tensor in index.initializers:
            continue
        wanted[tensor] = None
        maker = index.maker(tensor)
        if maker is not None and maker.op_type in BETWEEN:
            pending += list(maker.input)
    order = [value.name for value in model.graph.input]
    order += [name for node in model.graph.node for name in node.output]
    return tuple(name for name in order if name in wanted)


def quantise(model: onnx.ModelProto, ranges: Mapping[str, Range], weight_bits: int = 8) -> Quantised:
    """A Q/DQ copy of an fp32 model with batch norm already folded. `model` is not changed.

    `weight_bits` is 7 for CPUs whose 8-bit products saturate when two are added in 16 bits (x86 without
    VNNI: 2·255·127 > 2¹⁵−1, while 2·255·63 fits), else 8.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _name_nodes(result.graph)
    writer = _Writer(result.graph, ranges, weight_bits)
    writer.quantise_activations(tensors_to_observe(model))
    int8, left = writer.quantise_weights()
    writer.finish()
    return Quantised(result, tuple(int8), tuple(left))


class _Writer:
    """Collects the new nodes and constants of one graph, then puts them in."""

    def __init__(self, graph: onnx.GraphProto, ranges: Mapping[str, Range], weight_bits: int) -> None:
        self.graph = graph
        self.index = GraphIndex(graph)
        self.ranges = ranges
        self.top = 2 ** (weight_bits - 1) - 1
        self.scales: dict[str, float] = {}
        self.constants: dict[str, Array] = {}
        self.after: dict[str, list[onnx.NodeProto]] = {}
        self.before: dict[str, list[onnx.NodeProto]] = {}

    def quantise_activations(self, tensors: tuple[str, ...]) -> None:
        """Put a Q/DQ pair behind each tensor and let every reader read the pair's output."""
        for tensor in tensors:
            scale, zero_point = _affine(self._range_of(tensor))
            self.scales[tensor] = scale
            prefix = f"{tensor}/quantised"
            self.constants[f"{prefix}/scale"] = np.asarray(scale, dtype=np.float32)
            self.constants[f"{prefix}/zero_point"] = np.asarray(zero_point, dtype=np.uint8)
            parameters = [f"{prefix}/scale", f"{prefix}/zero_point"]
            self.after[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, *parameters], [prefix], name=f"{prefix}/Q"),
                helper.make_node("DequantizeLinear", [prefix, *parameters], [f"{prefix}/value"], name=f"{prefix}/DQ"),
            ]

    def _range_of(self, tensor: str) -> Range:
        maker = self.index.maker(tensor)
        if maker is not None and maker.op_type in SAME_SCALE:
            return self._range_of(maker.input[0])
        return self.ranges[tensor]

    def quantise_weights(self) -> tuple[list[str], list[str]]:
        """Put DQ in front of the weight and the bias of each convolution whose weight is a constant."""
        int8, left = [], []
        for node in self.graph.node:
            if node.op_type not in CONVOLUTIONS:
                continue
            weight = self.index.constant(node.input[1])
            bias = self.index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            has_bias = len(node.input) > 2 and bool(node.input[2])
            if weight is None or (has_bias and bias is None) or not _runs_in_integers(node):
                left.append(node.name)
                continue
            self._quantise_convolution(node, weight, bias)
            int8.append(node.name)
        return int8, left

    def _quantise_convolution(self, node: onnx.NodeProto, weight: Array, bias: Array | None) -> None:
        axis = 0 if node.op_type == "Conv" else 1
        others = tuple(i for i in range(weight.ndim) if i != axis)
        activation = self.scales[node.input[0]]
        scale = np.abs(weight).max(axis=others) / self.top
        if bias is not None:
            # A dead channel has no scale of its own, but its bias must still fit 32 bits.
            scale = np.maximum(scale, np.abs(bias) / (activation * 2**30))
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        codes = np.clip(np.rint(weight / scale.reshape(shape)), -self.top, self.top).astype(np.int8)
        prefix = f"{node.name}/weight"
        nodes = [self._dequantise(prefix, codes, scale, axis)]
        node.input[1] = f"{prefix}/value"
        if bias is not None:
            bias_scale = (scale.astype(np.float64) * activation).astype(np.float32)
            limit = 2**31 - 1
            bias_codes = np.clip(np.rint(bias / bias_scale.astype(np.float64)), -limit, limit).astype(np.int32)
            prefix = f"{node.name}/bias"
            nodes.append(self._dequantise(prefix, bias_codes, bias_scale, 0))
            node.input[2] = f"{prefix}/value"
        self.before[node.name] = nodes

    def _dequantise(self, prefix: str, codes: Array, scale: Array, axis: int) -> onnx.NodeProto:
        self.constants[prefix] = codes
        self.constants[f"{prefix}/scale"] = scale
        self.constants[f"{prefix}/zero_point"] = np.zeros(scale.shape, dtype=codes.dtype)
        inputs = [prefix, f"{prefix}/scale", f"{prefix}/zero_point"]
        return helper.make_node("DequantizeLinear", inputs, [f"{prefix}/value"], name=f"{prefix}/DQ", axis=axis)

    def finish(self) -> None:
        """Write the collected nodes in topological order and drop the float constants that nobody reads now."""
        nodes: list[onnx.NodeProto] = []
        for value in self.graph.input:
            nodes += self.after.get(value.name, [])
        for node in self.graph.node:
            for position, name in enumerate(node.input):
                if name in self.after:
                    node.input[position] = f"{name}/quantised/value"
            nodes += self.before.get(node.name, [])
            nodes.append(node)
            for name in node.output:
                nodes += self.after.get(name, [])
        copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copied)
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        kept += [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()]
        copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self.graph.initializer[:]
        self.graph.initializer.extend(copies)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: what is added is named after it, and ONNX allows none and doubles."""
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}_of_{graph.name or 'graph'}"
        seen.add(node.name)


def _runs_in_integers(node: onnx.NodeProto) -> bool:
    """Grouped transposed convolutions have no per-channel axis that the runtimes agree on."""
    return node.op_type == "Conv" or attribute(node, "group", 1) == 1


def _affine(seen: Range) -> tuple[float, int]:
    """Scale and zero point of uint8 for a range, widened so that 0 is represented exactly."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if high - low <= 0:
        return 1.0, 0
    scale = float(np.float32((high - low) / 255.0))
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))
