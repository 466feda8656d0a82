"""Explicit Q/DQ in an fp32 graph, by a scheme (`schemes.py`) and its placement (`placement.py`).

    q = clip(round(x / scale) + zero_point, lowest, highest)        x̂ = (q − zero_point)·scale

(Jacob et al. 2018, arXiv:1712.05877.) With fp8 codes q is the nearest E4M3 number to x / scale, and there is no zero
point: where a Relu stands in front of one with a zero point, ONNX Runtime 1.32 takes 0 for the lowest code, as that of
uint8 is, and drops the Relu.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, copy_of, rebuild
from visiondeploy.calibration.observers import LARGEST_E4M3, Range, Target
from visiondeploy.calibration.placement import makes_no_value, node_names, observed, place
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.types import Array

OUTPUT_DTYPE = 21
"""The operator set since which QuantizeLinear names the type of its codes."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """The Q/DQ graph, the products that are to run in int8, and for each of the others why it does not."""

    model: onnx.ModelProto
    int8: tuple[str, ...]
    left_in_float: Mapping[str, str]


def quantise(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    weight_bits: int = 8,
    keep_float: frozenset[str] = frozenset(),
) -> Quantised:
    """A Q/DQ copy of an fp32 model with batch norm already folded. `model` is not changed.

    `ranges` are those of `tensors_to_observe`, found for `scheme.target`. `keep_float` names convolutions
    that keep their float weights; what they read is quantised only where something else needs that.
    `weight_bits` is 7 for CPUs whose 8-bit products saturate when two are added in 16 bits (x86 without
    VNNI: 2·255·127 > 2¹⁵−1, while 2·255·63 fits), else 8.
    """
    result = copy_of(model)
    for node, name in zip(result.graph.node, node_names(model.graph), strict=True):
        node.name = name
    if scheme.rewritten:
        result = rewrite(result)
    placement = place(result.graph, scheme, keep_float)
    writer = _Writer(result.graph, ranges, scheme, weight_bits)
    writer.quantise_activations(placement.tensors)
    writer.quantise_weights(frozenset(placement.int8))
    writer.finish()
    if scheme.target.code == "fp8":
        # The type of codes without a zero point is an attribute since then; nothing else that we write differs.
        for opset in result.opset_import:
            opset.version = max(opset.version, OUTPUT_DTYPE) if opset.domain in {"", "ai.onnx"} else opset.version
        result.ir_version = max(result.ir_version, 10)
    # Less the float weights.
    return Quantised(copy_of(result), placement.int8, placement.left_in_float)


class _Writer:
    """Collects the new nodes and constants of one graph, then puts them in."""

    def __init__(self, graph: onnx.GraphProto, ranges: Mapping[str, Range], scheme: Scheme, weight_bits: int) -> None:
        self.graph = graph
        self.index = GraphIndex(graph)
        self.ranges = ranges
        self.scheme = scheme
        self.fp8 = scheme.target.code == "fp8"
        self.top = LARGEST_E4M3 if self.fp8 else 2 ** (weight_bits - 1) - 1
        self.known = frozenset(ranges)
        self.quantised: frozenset[str] = frozenset()
        self.scales: dict[str, float] = {}
        self.constants: dict[str, Array] = {}
        self.after: dict[str, list[onnx.NodeProto]] = {}
        self.before: dict[str, list[onnx.NodeProto]] = {}

    def quantise_activations(self, tensors: tuple[str, ...]) -> None:
        """Put a Q/DQ pair behind each tensor and let every reader read the pair's output."""
        self.quantised = frozenset(tensors)
        for tensor in tensors:
            scale, zero_point = _parameters(self._range_of(tensor), self.scheme.target)
            self.scales[tensor] = scale
            prefix = f"{tensor}/quantised"
            self.constants[f"{prefix}/scale"] = np.asarray(scale, dtype=np.float32)
            parameters = [f"{prefix}/scale", *self._zero_point(prefix, zero_point)]
            coder = helper.make_node("QuantizeLinear", [tensor, *parameters], [prefix], name=f"{prefix}/Q")
            if self.fp8:
                coder.attribute.append(helper.make_attribute("output_dtype", onnx.TensorProto.FLOAT8E4M3FN))
            self.after[tensor] = [
                coder,
                helper.make_node("DequantizeLinear", [prefix, *parameters], [f"{prefix}/value"], name=f"{prefix}/DQ"),
            ]

    def _range_of(self, tensor: str) -> Range:
        maker = self.index.maker(tensor)
        if maker is not None and makes_no_value(maker) and maker.input[0] in self.quantised:
            return self._range_of(maker.input[0])
        return self.ranges[observed(self.index, tensor, self.known)]

    def quantise_weights(self, names: frozenset[str]) -> None:
        """Put DQ in front of the weight and the bias of each convolution of `names`."""
        for node in self.graph.node:
            if node.name in names:
                self._quantise_convolution(node)

    def _quantise_convolution(self, node: onnx.NodeProto) -> None:
        weight = np.asarray(self.index.constant(node.input[1]))
        bias = self.index.constant(node.input[2]) if self.scheme.bias and len(node.input) > 2 else None
        axis = 0 if node.op_type == "Conv" else 1
        others = tuple(i for i in range(weight.ndim) if i != axis)
        activation = self.scales[node.input[0]]
        scale = np.abs(weight).max(axis=others) / self.top
        if bias is not None:
            # A dead channel has no scale of its own, but its bias must still fit 32 bits.
            scale = np.maximum(scale, np.abs(bias) / (activation * 2**30))
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        codes = self._coded(np.clip(weight / scale.reshape(shape), -self.top, self.top))
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

    def _coded(self, values: Array) -> Array:
        """The nearest codes to values in units of the scale, which are in their range."""
        if self.fp8:
            import ml_dtypes

            return values.astype(ml_dtypes.float8_e4m3fn)
        return np.rint(values).astype(np.int8)

    def _dequantise(self, prefix: str, codes: Array, scale: Array, axis: int) -> onnx.NodeProto:
        self.constants[prefix] = codes
        self.constants[f"{prefix}/scale"] = scale
        zero_point = self._zero_point(prefix, np.zeros(scale.shape, dtype=codes.dtype))
        inputs = [prefix, f"{prefix}/scale", *zero_point]
        return helper.make_node("DequantizeLinear", inputs, [f"{prefix}/value"], name=f"{prefix}/DQ", axis=axis)

    def _zero_point(self, prefix: str, value: Array) -> list[str]:
        """The constant for a zero point, by its name; none where codes are fp8."""
        if self.fp8:
            return []
        self.constants[f"{prefix}/zero_point"] = value
        return [f"{prefix}/zero_point"]

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
        rebuild(self.graph, nodes, self.constants)


def _parameters(seen: Range, target: Target) -> tuple[float, Array]:
    """Scale and zero point for a range, widened so that 0 is represented exactly."""
    found = target.range(seen.low, seen.high)
    code = np.int8 if target.symmetric else np.uint8
    if found.high - found.low <= 0:
        return 1.0, np.asarray(0, dtype=code)
    scale = float(np.float32((found.high - found.low) / target.width))
    zero_point = 0 if target.symmetric else np.clip(np.rint(-found.low / scale), 0, target.levels - 1)
    return scale, np.asarray(zero_point, dtype=code)
