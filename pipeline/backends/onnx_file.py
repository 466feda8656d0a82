"""What an ONNX file says of itself: names of inputs and outputs, and the types of its products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visiondeploy.types import Precision, TensorSpec

if TYPE_CHECKING:
    import onnx

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
NAMES = {1: "fp32", 10: "fp16", 16: "bf16", 3: "int8", 2: "int8", 17: "fp8"}
_CODES = ("int8", "fp8")
_ROUNDING = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
_UINT8 = 2
"""What QuantizeLinear makes where no zero point says otherwise."""


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product: its name, its operator, the type that the graph has it computed in, and the
    type that its weight is kept in. None where the graph does not say, and for a product of two activations."""

    name: str
    kind: str
    wanted: str | None
    stored: str | None


def io_names(path: Path) -> tuple[list[str], list[str]]:
    """The names of the graph's inputs and outputs, in order."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return [value.name for value in inputs_of(graph)], [value.name for value in graph.output]


def io_specs(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The graph's inputs and outputs, in order, as the file declares them; an axis without a size is free."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return tuple(map(_spec, inputs_of(graph))), tuple(map(_spec, graph.output))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type
    shape = tuple(
        axis.dim_value if axis.dim_value > 0 else axis.dim_param or f"axis{number}"
        for number, axis in enumerate(kind.shape.dim)
    )
    return TensorSpec(value.name, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What has to be fed. Before IR version 4 the weights stood among the inputs, too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def precision_of(model: onnx.ModelProto) -> Precision:
    """The precision that a graph has: int8 where it rounds to codes, fp16 where all its products are in it."""
    if any(node.op_type in _ROUNDING for node in model.graph.node):
        return Precision.INT8
    found = products_of(model)
    return Precision.FP16 if found and all(product.wanted == "fp16" for product in found) else Precision.FP32


def stored_types(path: Path) -> dict[str, int]:
    """Layers counted by the type of their weight: that of the initializer, seen through DequantizeLinear and Cast."""
    return stored_of(products(path))


def stored_of(found: Iterable[Product]) -> dict[str, int]:
    """Products counted by the type of their weight."""
    return dict(Counter(product.stored for product in found if product.stored is not None))


def products(path: Path) -> tuple[Product, ...]:
    """The convolutions and matrix products of a file's graph, in its order."""
    import onnx

    return products_of(onnx.load(path, load_external_data=False))


def products_of(model: onnx.ModelProto) -> tuple[Product, ...]:
    """As `products`, of a graph that was read."""
    types = _Types(model)
    return tuple(
        Product(node.name, node.op_type, types.computed(node), types.stored(node.input[1]))
        for node in types.graph.node
        if node.op_type in LAYERS
    )


class _Types:
    """The types of a graph's tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._model = model
        self._constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                kinds = [given.t.data_type for given in node.attribute if given.HasField("t")]
                self._constants |= dict.fromkeys(node.output, kinds[0]) if kinds else {}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._declared = self._values(model.graph)
        self._inferred: dict[str, int] | None = None

    def computed(self, node: onnx.NodeProto) -> str | None:
        """That of the codes where both factors come from codes of one type, else the type of the first factor."""
        first, second = (self._codes(name) for name in node.input[:2])
        return first if first == second and first in _CODES else self._name(self._type(node.input[0]))

    def stored(self, tensor: str) -> str | None:
        """The type of the constant behind a tensor; None where there is none."""
        while tensor not in self._constants and tensor in self._makers:
            maker = self._makers[tensor]
            if maker.op_type not in {"DequantizeLinear", "Cast"}:
                return None
            tensor = maker.input[0]
        return self._name(self._constants.get(tensor))

    def _codes(self, tensor: str) -> str | None:
        """The type of the codes that a tensor is dequantised from; None where it is not."""
        maker = self._makers.get(tensor)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        point = maker.input[2] if len(maker.input) > 2 else ""
        coder = self._makers.get(maker.input[0])
        named = next((a.i for a in coder.attribute if a.name == "output_dtype"), 0) if coder is not None else 0
        return self._name(self._constants.get(maker.input[0]) or self._constants.get(point) or named or _UINT8)

    def _type(self, tensor: str) -> int | None:
        found = self._constants.get(tensor) or self._declared.get(tensor)
        if not found:
            if self._inferred is None:
                import onnx

                self._inferred = self._values(onnx.shape_inference.infer_shapes(self._model).graph)
            found = self._inferred.get(tensor)
        return found

    @staticmethod
    def _values(graph: onnx.GraphProto) -> dict[str, int]:
        values = (*graph.value_info, *graph.input, *graph.output)
        return {value.name: value.type.tensor_type.elem_type for value in values}

    @staticmethod
    def _name(kind: int | None) -> str | None:
        return NAMES.get(kind, f"onnx type {kind}") if kind else None
