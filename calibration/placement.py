"""Which tensors of a graph get a Q/DQ pair under a scheme, and which products run in integers.

A product is a convolution: an operator whose arithmetic is worth integers. Q/DQ pairs stand where the
runtimes fuse them away:

    DQ ─► Conv ─► ReLU ─► Q       one integer convolution: with zero point 0, Q clips as the ReLU does
    DQ ─► MaxPool ─► Q            same scale on both sides, since a maximum makes no new value
    DQ, DQ ─► Concat ─► Q         each branch keeps its own scale; one shared scale would make the
                                  skip signed, the ReLU would no longer fold, and it costs codes
    Conv ─► Concat ─► Q           a branch that nobody else reads is rounded once, by the pair behind, which a
                                  runtime that does not want rounded results moves into the convolution
    DQ ─► Conv ─► Add ◄─ DQ       the sum is taken in the convolution's accumulator; a runtime that
                                  cannot wants a pair behind the Conv as well (`rounded_results`)
    DQ ─► Conv ─► logits          what the last convolution gives stays float: in 8 bits the logits of a UNet
                                  lose 3 dB, and ONNX Runtime gains 4 % of its time
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from visiondeploy.calibration.graph import CONVOLUTIONS, GraphIndex, attributes
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import SCHEMES, Scheme

ACTIVATIONS = ("Relu", "Clip")
"""Operators that the quantiser behind them makes superfluous, since it clips."""

SAME_SCALE = ("MaxPool", "DepthToSpace", "Transpose", "Reshape", "Resize")
"""Operators that move values and make none, so that both sides share a scale; of Resize, the nearest."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Tensors to quantise in graph order; names of the products in integers; why the others are in float."""

    tensors: tuple[str, ...]
    int8: tuple[str, ...]
    left_in_float: Mapping[str, str]


def tensors_to_observe(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors of an fp32 model whose ranges any scheme needs, in graph order: one pass serves all of them."""
    order = _in_order(model.graph)
    known = frozenset(order)
    wanted: set[str] = set()
    for scheme in SCHEMES.values():
        graph = (rewrite(model) if scheme.rewritten else model).graph
        index = GraphIndex(graph)
        wanted |= {observed(index, name, known) for name in place(graph, scheme).tensors}
    return tuple(name for name in order if name in wanted)


def observed(index: GraphIndex, tensor: str, known: frozenset[str]) -> str:
    """The tensor of the model before it was rewritten that has the values of this one: a shuffle of them follows."""
    while tensor not in known:
        tensor = index.readers(tensor)[0].output[0]
    return tensor


def place(graph: onnx.GraphProto, scheme: Scheme, keep_float: frozenset[str] = frozenset()) -> Placement:
    """Where Q/DQ pairs go. `keep_float` names products (see `node_names`) that are to stay in float."""
    index = GraphIndex(graph)
    last = _last_products(graph)
    left: dict[str, str] = {}
    integer: dict[str, onnx.NodeProto] = {}
    for name, node in zip(node_names(graph), graph.node, strict=True):
        if node.op_type not in CONVOLUTIONS:
            continue
        reason = "kept in float as asked" if name in keep_float else _reason(node, index, scheme, name in last)
        if reason:
            left[name] = reason
        else:
            integer[name] = node
    return Placement(_tensors(index, scheme, list(integer.values())), tuple(integer), left)


def _reason(node: onnx.NodeProto, index: GraphIndex, scheme: Scheme, last: bool) -> str | None:
    """Why a product stays in float; None where it need not."""
    if node.op_type not in scheme.products:
        return f"the runtime has no integer {node.op_type}"
    if any(index.constant(operand) is None for operand in node.input[1:] if operand):
        return "its weight or its bias is computed, not constant"
    if node.op_type == "ConvTranspose" and attributes(node).get("group", 1) != 1:
        return "a grouped transposed convolution has no per-channel axis that the runtimes agree on"
    if scheme.rounded_results and (last or _result(index, node) in index.outputs):
        return "the network's output is made of its result and stays float, and the runtime would have to round it"
    return None


def _tensors(index: GraphIndex, scheme: Scheme, integer: list[onnx.NodeProto]) -> tuple[str, ...]:
    """What integer products read and, going backwards, what the operators between them read.

    So integers flow from one product to the next.
    """
    products = {node.output[0] for node in integer}
    pending = [node.input[0] for node in integer]
    if scheme.rounded_results:
        pending += [_result(index, node) for node in integer]
    wanted: set[str] = set()
    while pending:
        tensor = pending.pop()
        if tensor in wanted or tensor in index.initializers:
            continue
        wanted.add(tensor)
        maker = _source(index, tensor)
        if maker is not None and runs_between(maker, scheme):
            pending += _operands(index, maker, scheme, products)
    return tuple(name for name in _in_order(index.graph) if name in wanted)


def runs_between(node: onnx.NodeProto, scheme: Scheme) -> bool:
    """Whether an operator runs on integers. Resizing that interpolates does so in no runtime."""
    return node.op_type in scheme.between and (node.op_type != "Resize" or makes_no_value(node))


def makes_no_value(node: onnx.NodeProto) -> bool:
    """Whether what an operator gives is among what it reads."""
    if node.op_type != "Resize":
        return node.op_type in SAME_SCALE
    found = attributes(node)
    outside = found.get("coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize"
    return found.get("mode", b"nearest") == b"nearest" and not outside


def _operands(index: GraphIndex, node: onnx.NodeProto, scheme: Scheme, products: set[str]) -> list[str]:
    """What an operator between products must read in codes."""
    if node.op_type == "Resize":
        return [node.input[0]]
    if node.op_type == "Add" and not scheme.rounded_results:
        for taken, other in (node.input, tuple(reversed(node.input))):
            if taken in products and index.only_reader(taken) is not None:
                return [other]
    if node.op_type == "Concat" and not scheme.rounded_results:
        return [name for name in node.input if not _only_joined(index, name, products)]
    return list(node.input)


def _only_joined(index: GraphIndex, tensor: str, products: set[str]) -> bool:
    """Whether a branch of a Concat is what an integer product gives and read by nobody else."""
    maker = _source(index, tensor)
    return maker is not None and maker.output[0] in products and index.only_reader(tensor) is not None


def _source(index: GraphIndex, tensor: str) -> onnx.NodeProto | None:
    """The node that computes a tensor, not counting an activation that the quantiser behind it replaces."""
    maker = index.maker(tensor)
    if maker is not None and maker.op_type in ACTIVATIONS and index.only_reader(maker.input[0]) is not None:
        return index.maker(maker.input[0])
    return maker


def _result(index: GraphIndex, node: onnx.NodeProto) -> str:
    """The tensor to quantise so that a product gives codes: what its activation gives, if it has one."""
    reader = index.only_reader(node.output[0])
    return str((reader if reader is not None and reader.op_type in ACTIVATIONS else node).output[0])


def _last_products(graph: onnx.GraphProto) -> set[str]:
    """The names of the products whose result no other product depends on."""
    needed: set[str] = set()
    last = set()
    for name, node in zip(reversed(node_names(graph)), reversed(graph.node), strict=True):
        feeds = bool(needed.intersection(node.output))
        if node.op_type in CONVOLUTIONS and not feeds:
            last.add(name)
        if node.op_type in CONVOLUTIONS or feeds:
            needed.update(node.input)
    return last


def _in_order(graph: onnx.GraphProto) -> list[str]:
    return [value.name for value in graph.input] + [name for node in graph.node for name in node.output]


def node_names(graph: onnx.GraphProto) -> list[str]:
    """A name of its own for every node: what is added is named after it, and ONNX allows none and doubles."""
    names: list[str] = []
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        name = node.name
        if not name or name in seen:
            name = f"{node.op_type}_{number}_of_{graph.name or 'graph'}"
        seen.add(name)
        names.append(name)
    return names
