"""The inside of an OpenVINO engine: what its execution graph says of each layer, and tensors by the names of the graph.

The execution graph is the compiled model's own account of what it runs (OpenVINO's `ov::exec_model_info`): the kind of
each layer, the precision it runs in, and the operators of the IR that are fused into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from visiondeploy.pipeline.backends.inside import Inner, LayerDetail
from visiondeploy.types import TensorSpec

CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
DECONVOLUTIONS = frozenset({"Deconvolution"})
PRODUCTS = CONVOLUTIONS | DECONVOLUTIONS | {"FullyConnected", "MatMul"}
COMPUTE = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}

_AROUND = frozenset({"Input", "Output", "Const"})
_FLOATS = frozenset({"f32", "f16", "bf16", "f64"})
_SETTINGS = frozenset({"FakeQuantize", "Pad", "Interpolate"})
"""Layers whose float constants are limits and scales, no parameters."""

_GENERATED = re.compile(r"^[A-Z][A-Za-z]*_\d+$")
"""A name that OpenVINO gives to what has none: "ConvolutionBackpropData_395"."""
_BIAS = "/WithoutBiases"
"""What the convolution is called that the ONNX frontend splits from its bias."""


def execution_layers(runtime_model: Any) -> tuple[LayerDetail, ...]:
    """The layers of an execution graph that compute from the inputs, in its order; `runtime_model` is that graph."""
    graph = _Execution(runtime_model)
    return tuple(graph.detail(node) for node in graph.nodes)


def inner_tensors(model: Any) -> tuple[Inner, ...]:
    """The float tensors of an IR that have a name and depend on an input, in the order of execution."""
    computed: set[str] = set()
    found: list[Inner] = []
    for node in model.get_ordered_ops():
        sources = [value.get_source_output().get_node().get_friendly_name() for value in node.inputs()]
        if node.get_type_name() != "Parameter" and not computed.intersection(sources):
            continue
        computed.add(node.get_friendly_name())
        if node.get_type_name() in {"Parameter", "Result"}:
            continue
        found += [
            Inner(name, node.get_friendly_name(), node.get_type_name())
            for output in node.outputs()
            if output.get_element_type().get_type_name() in _FLOATS
            for name in sorted(output.get_names())
        ]
    return tuple(found)


def executed(node: Any) -> tuple[str, str, str]:
    """Name, kind and type of arithmetic of one node of an execution graph."""
    kind, precision = _info(node, "layerType"), _info(node, "runtimePrecision")
    return _names(node)[0], kind, COMPUTE.get(precision, precision)


def is_inserted(node: Any) -> bool:
    """Whether a node of an execution graph is in no IR: the plugin put it there."""
    return not _info(node, "originalLayersNames")


class _Execution:
    """An execution graph, and what is constant in it."""

    def __init__(self, model: Any) -> None:
        self._constant: set[str] = set()
        self.nodes: list[Any] = []
        for node in model.get_ordered_ops():
            kind = _info(node, "layerType")
            sources = [source.get_friendly_name() for source in _sources(node)]
            if kind == "Const" or (sources and self._constant.issuperset(sources)):
                self._constant.add(node.get_friendly_name())
            elif kind not in _AROUND:
                self.nodes.append(node)
        self._counted: set[str] = set()

    def detail(self, node: Any) -> LayerDetail:
        """One layer. A constant is counted with the layer that asks first."""
        name, kind, compute = executed(node)
        behind = [value for source in _sources(node) for value in self._behind(source, kind not in _SETTINGS)]
        return LayerDetail(
            name=name,
            kind=kind,
            inputs=tuple(_spec(v) for v, s in zip(node.inputs(), _sources(node), strict=True) if not self._is(s)),
            outputs=tuple(_spec(value) for value in node.outputs()),
            parameters=sum(values for values, _ in behind),
            weight_bytes=sum(size for _, size in behind),
            macs=_macs(node, kind) if kind in PRODUCTS else 0,
            compute=compute,
            provider="cpu",
            fused=_names(node)[1],
        )

    def _is(self, node: Any) -> bool:
        return node.get_friendly_name() in self._constant

    def _behind(self, node: Any, trained: bool) -> Iterator[tuple[int, int]]:
        """Parameters and bytes of each constant that a constant is made of and that is not counted yet."""
        if not self._is(node) or node.get_friendly_name() in self._counted:
            return
        self._counted.add(node.get_friendly_name())
        for source in _sources(node):
            yield from self._behind(source, trained)
        if _info(node, "layerType") == "Const":
            output = node.output(0)
            kind, values = output.get_element_type(), math.prod(output.get_shape())
            is_value = kind.get_type_name() in _FLOATS or _info(node, "outputPrecisions") in {"i8", "u8"}
            yield values if trained and is_value else 0, values * kind.size


def _macs(node: Any, kind: str) -> int | None:
    first, second, made = (_sizes(value) for value in (node.input(0), node.input(1), node.output(0)))
    if first is None or second is None or made is None:
        return None
    if kind in CONVOLUTIONS:
        return math.prod(second) * made[0] * math.prod(made[2:])
    if kind in DECONVOLUTIONS:
        return math.prod(second) * first[0] * math.prod(first[2:])
    return math.prod(made) * first[-1]


def _names(node: Any) -> tuple[str, tuple[str, ...]]:
    """What a layer is called in the graph, and the other operators that are in it."""
    originals = [name for name in _info(node, "originalLayersNames").split(",") if name]
    known = [name.removesuffix(_BIAS) for name in originals if not _GENERATED.match(name)]
    name = (known or [node.get_friendly_name()])[0]
    return name, tuple(other for other in dict.fromkeys(known) if other != name)


def _sources(node: Any) -> list[Any]:
    return [value.get_source_output().get_node() for value in node.inputs()]


def _info(node: Any, key: str) -> str:
    info = node.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""


def _shape(value: Any) -> tuple[int | str, ...]:
    axes = enumerate(value.get_partial_shape())
    return tuple(d.get_length() if d.is_static else f"axis{axis}" for axis, d in axes)


def _sizes(value: Any) -> tuple[int, ...] | None:
    shape = _shape(value)
    sizes = tuple(size for size in shape if isinstance(size, int))
    return sizes if len(sizes) == len(shape) else None


def _spec(value: Any) -> TensorSpec:
    source = value.get_source_output() if hasattr(value, "get_source_output") else value
    return TensorSpec(_names(source.get_node())[0], str(value.get_element_type().to_dtype()), _shape(value))
