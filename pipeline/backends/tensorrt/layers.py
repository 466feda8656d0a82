"""The layers of an engine with their types, as TensorRT itself writes them, and what each product computes in.

With detailed verbosity the builder ends its log with one line for each layer, and the engine inspector writes the
same ones (ONELINE). Of TensorRT-RTX 1.7:

    Name: head_myl0_31, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,16,8,8], Strides: […], …,
    Datatype: Half, Format: … }], Constants: [ { … } ], Outputs: [ { … } ], …, Metadata: [ONNX Layer: head]

Of TensorRT 10 "Location: Device" follows the name, the type is called "Format/Datatype" ("Half", or "Thirty-two
wide channel vectorized row major Int8 format"), and weights are written as `Weights: {"Type": "Half", "Count": 9}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from visiondeploy.pipeline.backends.onnx_file import Product
from visiondeploy.types import Layer

REPORT = "Layers:"
"""What the message in the log begins with."""

UNKNOWN = "unknown"

WORDS = {
    "Int8": "int8",
    "UInt8": "uint8",
    "FP8": "fp8",
    "Half": "fp16",
    "FP16": "fp16",
    "BF16": "bf16",
    "BFloat16": "bf16",
    "Float": "fp32",
    "FP32": "fp32",
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
}
"""TensorRT's words for types."""

_WIDTH = {kind: width for width, kind in enumerate(("int8", "fp8", "fp16", "bf16", "fp32"))}
_GENERATED = "kgen"
"""A kernel that TensorRT writes for pointwise work: padding, casts, scales. A product may share its name with one."""

_LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), (?P<rest>.*)$", re.MULTILINE)
_LISTS = re.compile(
    r"Inputs: \[(?P<inputs>(?: \{.*?\})?)\](?:, Constants: \[(?P<constants>(?: \{.*?\})?)\])?"
    r", Outputs: \[(?P<outputs>(?: \{.*?\})?)\](?:, |$)"
)
_OPERAND = re.compile(
    r"\{ Name: (?P<name>.*?), (?:Location: \w+, )?Dimensions: \[(?P<dimensions>[-0-9,]*)\]"
    r"[^{}]*?\b(?:Format/)?Datatype: (?P<type>[^,{}]*)[^{}]*\}"
)
_TYPE = re.compile(r"\b(?:" + "|".join(WORDS) + r")\b")
_WEIGHTS = re.compile(r', Weights: \{"Type": "(\w+)", "Count": [1-9]')
_NODES = "[ONNX Layer: "


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that a layer reads or writes; −1 is a free axis."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it has; 0 where an axis is free."""
        return math.prod(self.shape) if all(extent > 0 for extent in self.shape) else 0


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One layer of an engine. `nodes` are the names of the ONNX nodes in it; `weights` their type where it is told."""

    name: str
    kind: str
    inputs: tuple[Operand, ...]
    constants: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    nodes: tuple[str, ...]
    weights: str | None = None


def parse_layers(report: str) -> tuple[EngineLayer, ...]:
    """The layers in a report of the builder or the inspector, in its order; other lines are skipped."""
    found = []
    for line in _LINE.finditer(report):
        lists = _LISTS.match(line["rest"])
        if lists is None:
            continue
        weights = _WEIGHTS.search(line["rest"])
        found.append(
            EngineLayer(
                name=line["name"],
                kind=line["kind"],
                inputs=_operands(lists["inputs"]),
                constants=_operands(lists["constants"] or ""),
                outputs=_operands(lists["outputs"]),
                nodes=_nodes(line["rest"]),
                weights=_word(weights[1]) if weights else None,
            )
        )
    return tuple(found)


def realise(products: Iterable[Product], layers: Sequence[EngineLayer], provider: str, *, tf32: bool) -> list[Layer]:
    """What each product of the graph is computed in, by the engine's layers that name it.

    With `tf32` layers in fp32 are said to be in TF32, which the builder may use for them then.
    """
    by_node: dict[str, list[EngineLayer]] = {}
    for layer in layers:
        for node in layer.nodes:
            by_node.setdefault(node, []).append(layer)
    found = []
    for product in products:
        named = by_node.get(product.name, [])
        # What was written around a product names it, too; if nothing else does, it is the product.
        kinds = {compute(layer) for layer in [x for x in named if x.kind != _GENERATED] or named}
        computed = widest(kinds)
        computed = "tf32" if tf32 and computed == "fp32" else computed
        found.append(Layer(product.name, product.kind, computed, provider, product.wanted))
    return found


def owners(layers: Sequence[EngineLayer]) -> dict[str, int]:
    """The place of the layer that computes each ONNX node; what was written around it names it, too."""
    found: dict[str, int] = {}
    for generated in (False, True):
        for place, layer in enumerate(layers):
            if (layer.kind == _GENERATED) == generated:
                for node in layer.nodes:
                    found.setdefault(node, place)
    return found


def compute(layer: EngineLayer) -> str:
    """The type that a layer with a product multiplies in.

    Networks are strongly typed, so both factors of a product have one type: that of its weights, the largest of its
    constants. Codes that only the weights have are widened before they are multiplied. Where the weights are no
    constant (a product of two activations, or weights that are dequantised by a layer of their own), it is the
    widest type that is read: what is said must not be better than what is done.
    """
    read = {operand.type for operand in layer.inputs} - {UNKNOWN}
    weights = layer.weights or next(
        (c.type for c in sorted(layer.constants, key=lambda c: -c.size) if c.size > 1 or len(layer.inputs) < 2), None
    )
    if weights is None or weights == UNKNOWN or (weights in {"int8", "fp8"} and weights not in read):
        return widest(read)
    return weights


def widest(kinds: Iterable[str]) -> str:
    """The type that holds most of some; `UNKNOWN` of none."""
    return max(kinds, key=_width, default=UNKNOWN)


def _width(kind: str) -> int:
    return _WIDTH.get(kind, len(_WIDTH))


def _operands(text: str) -> tuple[Operand, ...]:
    return tuple(
        Operand(
            found["name"], _word(found["type"]), tuple(int(size) for size in found["dimensions"].split(",") if size)
        )
        for found in _OPERAND.finditer(text)
    )


def _word(text: str) -> str:
    """Our name for the type that a text names; `UNKNOWN` for none ("N/A due to dynamic shapes")."""
    found = _TYPE.search(text)
    return WORDS[found[0]] if found else UNKNOWN


def _nodes(rest: str) -> tuple[str, ...]:
    # TensorRT 10 puts control characters between them, TensorRT-RTX nothing; a node that was written as something
    # else has a word behind its bracket: "[ONNX Layer: head]__gemm_from_conv1x1".
    return tuple(part.rpartition("]")[0] for part in rest.split(_NODES)[1:])
