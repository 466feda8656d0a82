"""The inside of an ONNX file: its layers with shapes, weights and multiply-accumulates, and the tensors between them.

Multiply-accumulates for one image, with w the number of values of the weight:

    Conv             w · height · width of the output
    ConvTranspose    w · height · width of the input, each value of which meets the whole kernel
    Gemm, MatMul     values of the output · length of the axis that is summed over
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from visiondeploy.pipeline.backends.inside import Inner, LayerDetail, Shapes
from visiondeploy.pipeline.backends.onnx_file import LAYERS, products_of
from visiondeploy.types import TensorSpec

if TYPE_CHECKING:
    import onnx

FLOATS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
UNKNOWN = "unknown"
"""The type of a tensor that shape inference says nothing of."""

_SETTINGS = frozenset({"QuantizeLinear", "DequantizeLinear", "Clip", "Pad", "Resize"})
"""Operators whose float constants are limits and scales, no parameters."""


def graph_layers(path: Path, shapes: Shapes) -> tuple[LayerDetail, ...]:
    """The nodes of a file that compute from its inputs, in its order; what computes from constants is one itself.

    The caller has checked the file's digest. Weights beside it are not read.
    """
    graph = _Graph(path, shapes)
    return tuple(graph.detail(node) for node in graph.nodes)


def inner_tensors(path: Path) -> tuple[Inner, ...]:
    """The float results of the same nodes, in the order of the file. The caller has checked its digest."""
    graph = _Graph(path, {})
    return tuple(
        Inner(name, node.name or name, node.op_type)
        for node in graph.nodes
        for name in node.output
        if name and graph.spec(name).dtype in FLOATS
    )


class _Graph:
    """A graph with the shapes for one image, and what is constant in it."""

    def __init__(self, path: Path, shapes: Shapes) -> None:
        import onnx

        model = onnx.load(path, load_external_data=False)
        _fix_inputs(model.graph, shapes)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self._graph = inferred.graph
        self._initializers = {tensor.name: tensor for tensor in self._graph.initializer}
        self._values = {v.name: v for v in (*self._graph.value_info, *self._graph.input, *self._graph.output)}
        self._makers = {name: node for node in self._graph.node for name in node.output if name}
        self._constant = set(self._initializers)
        self.nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            if self._constant.issuperset(name for name in node.input if name):
                self._constant.update(node.output)
            else:
                self.nodes.append(node)
        self._counted: set[str] = set()
        self._wanted = {product.name: product.wanted for product in products_of(inferred)}

    def detail(self, node: onnx.NodeProto) -> LayerDetail:
        """One node. A constant is counted with the node that asks first."""
        trained = node.op_type not in _SETTINGS
        constants = [c for name in node.input if name in self._constant for c in self._behind(name, trained)]
        return LayerDetail(
            name=node.name or node.output[0],
            kind=node.op_type,
            inputs=tuple(self.spec(name) for name in node.input if name and name not in self._constant),
            outputs=tuple(self.spec(name) for name in node.output if name),
            parameters=sum(values for values, _ in constants),
            weight_bytes=sum(size for _, size in constants),
            macs=self._macs(node) if node.op_type in LAYERS else 0,
            compute=self._asked_for(node) if node.op_type in LAYERS else None,
        )

    def spec(self, tensor: str) -> TensorSpec:
        """Type and shape of a computed tensor, as far as they can be inferred."""
        found = self._values.get(tensor)
        if found is None:
            return TensorSpec(tensor, UNKNOWN, ())
        kind = found.type.tensor_type
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"axis{axis}"
            for axis, dim in enumerate(kind.shape.dim)
        )
        return TensorSpec(tensor, _dtype(kind.elem_type), shape)

    def _behind(self, tensor: str, trained: bool, codes: bool = False) -> Iterator[tuple[int, int]]:
        """Parameters and bytes of each initializer that a constant is made of and that is not counted yet.

        `codes` says that it is read as the codes of a DequantizeLinear, so that integers are parameters.
        """
        import numpy as np

        if not tensor or tensor in self._counted:
            return
        self._counted.add(tensor)
        stored = self._initializers.get(tensor)
        if stored is None:
            maker = self._makers[tensor]
            quantised = maker.op_type == "DequantizeLinear"
            for place, name in enumerate(maker.input):
                yield from self._behind(name, trained and not (quantised and place), quantised or codes)
            return
        values, dtype = math.prod(stored.dims), _dtype(stored.data_type)
        yield values if trained and (codes or dtype in FLOATS) else 0, values * np.dtype(dtype).itemsize

    def _macs(self, node: onnx.NodeProto) -> int | None:
        first, second, made = (self._sizes(name) for name in (*node.input[:2], node.output[0]))
        if first is None or second is None or made is None:
            return None
        if node.op_type == "Conv":
            return math.prod(second) * made[0] * math.prod(made[2:])
        if node.op_type == "ConvTranspose":
            return math.prod(second) * first[0] * math.prod(first[2:])
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(made) * first[0 if transposed else -1]

    def _sizes(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a tensor, where every axis of it is known."""
        stored = self._initializers.get(tensor)
        if stored is not None:
            return tuple(stored.dims)
        found = self.spec(tensor)
        sizes = tuple(size for size in found.shape if isinstance(size, int))
        return sizes if sizes and len(sizes) == len(found.shape) else None

    def _asked_for(self, node: onnx.NodeProto) -> str | None:
        """The type of its products, as `products` reads it from the graph."""
        return self._wanted.get(node.name) or FLOATS.get(self.spec(node.input[0]).dtype)


def _fix_inputs(graph: onnx.GraphProto, shapes: Shapes) -> None:
    """Give free axes of the inputs the sizes of `shapes`, and forget what was inferred with them free."""
    for value in graph.input:
        axes, sizes = value.type.tensor_type.shape.dim, shapes.get(value.name, ())
        if len(axes) != len(sizes):
            continue
        for axis, size in zip(axes, sizes, strict=True):
            if not axis.HasField("dim_value"):
                axis.dim_value = size
    if shapes:
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")


def _dtype(kind: int) -> str:
    """NumPy's name of an ONNX type."""
    from onnx import helper

    return str(helper.tensor_dtype_to_np_dtype(kind)) if kind else UNKNOWN
