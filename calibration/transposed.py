"""Transposed convolutions as convolutions whose channels are then shuffled to pixels: the same function.

A transposed convolution of stride s with borders p gives, by axis,

    out[o] = Σ in[i]·w[u]     over i and u with s·i + u = o + p

With o + e = s·q + a, 0 ≤ a < s, for some shift e, u is r + s·t and i is q + d − t, where a + p − e = s·d + r and
0 ≤ r < s. For each a that is a convolution over q. One convolution has them all, channel (s·a + b)·C + c for the place
(a, b) of channel c; DepthToSpace puts them there, and the e pixels before and some behind are cut off. Of the shifts
that one is taken whose windows of i for all a together are the smallest, then the one that cuts the least.

Where a kernel is as wide as its stride and has no borders no two products meet in one output: the convolution is 1×1,
and nothing is cut. An activation that follows goes in front of the shuffle, where it is part of the convolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, attributes, copy_of, never_negative, rebuild
from visiondeploy.types import Array

_TO_THE_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Window:
    """One axis: the size of the window, the place in it of each pair (a, u), its borders, and what is cut off."""

    size: int
    places: Mapping[tuple[int, int], int]
    pads: tuple[int, int]
    cut: tuple[int, int]


def as_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with every match rewritten; nodes and results keep their names. `model` is not changed."""
    return _rewritten(model, lambda _index, _node: True)


def signed_as_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same where what is read may be negative: of codes with a zero point OpenVINO 2026.4 has no integer kernel."""
    return _rewritten(model, lambda index, node: not never_negative(index, node.input[0]))


def _rewritten(model: onnx.ModelProto, wanted: Callable[[GraphIndex, onnx.NodeProto], bool]) -> onnx.ModelProto:
    result = copy_of(model)
    index = GraphIndex(result.graph)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, Array] = {}
    shapes: list[onnx.ValueInfoProto] = []
    moved: set[str] = set()
    for node in result.graph.node:
        if node.output[0] in moved:
            continue
        windows = _windows(node, index)
        if windows is None or not wanted(index, node):
            nodes.append(node)
            continue
        activation = index.only_reader(node.output[0])
        if activation is not None and activation.op_type in ("Relu", "Clip"):
            moved.add(activation.output[0])
        else:
            activation = None
        nodes += _shuffled(node, activation, windows, index, added, shapes)
    # A transposed weight that became another's is read by nobody, and neither is what lay behind it.
    rebuild(result.graph, nodes, added)
    result.graph.value_info.extend(shapes)
    return result


def _windows(node: onnx.NodeProto, index: GraphIndex) -> tuple[int, list[_Window]] | None:
    """s, and the window of each axis, where a transposed convolution is a shuffled convolution."""
    weight = index.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
    if weight is None or weight.ndim != 4 or any(index.constant(name) is None for name in node.input[2:] if name):
        return None
    found = attributes(node)
    strides = list(found.get("strides", [1, 1]))
    plain = found.get("group", 1) == 1 and set(found.get("dilations", [1])) == {1} and "output_shape" not in found
    automatic = found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if not plain or automatic or strides[0] == 1 or strides[0] != strides[1]:
        return None
    pads, more = list(found.get("pads", [0] * 4)), list(found.get("output_padding", [0, 0]))
    windows = []
    for axis, kernel in enumerate(weight.shape[2:]):
        choices = [_window(kernel, strides[0], pads[axis], pads[axis + 2], more[axis], e) for e in range(strides[0])]
        windows.append(min(choices, key=lambda choice: (choice.size, sum(choice.cut))))
    # Borders that cut, which no convolution has.
    return None if min(side for window in windows for side in window.pads) < 0 else (strides[0], windows)


def _window(kernel: int, stride: int, before: int, behind: int, more: int, shift: int) -> _Window:
    places = {}
    for phase in range(stride):
        ahead, rest = divmod(phase + before - shift, stride)
        for tap, u in enumerate(range(rest, kernel, stride)):
            places[phase, u] = ahead - tap
    first, last = min(places.values()), max(places.values())
    # Of n pixels there become stride·(n − 1) + whole.
    whole = kernel - before - behind + more
    blocks = -(-(whole + shift) // stride)
    return _Window(
        last - first + 1,
        {pair: place - first for pair, place in places.items()},
        (-first, blocks - 1 + last),
        (shift, stride * blocks - whole - shift),
    )


def _shuffled(
    node: onnx.NodeProto,
    activation: onnx.NodeProto | None,
    found: tuple[int, list[_Window]],
    index: GraphIndex,
    added: dict[str, Array],
    shapes: list[onnx.ValueInfoProto],
) -> list[onnx.NodeProto]:
    size, (down, right) = found
    # in × out × k × k
    weight = np.asarray(index.constant(node.input[1]))
    inputs, outputs = weight.shape[:2]
    prefix = f"{node.output[0]}/shuffled"
    moved = np.zeros((size, size, outputs, inputs, down.size, right.size), dtype=weight.dtype)
    for (a, u), row in down.places.items():
        for (b, v), column in right.places.items():
            moved[a, b, :, :, row, column] = weight[:, :, u, v].T
    added[f"{prefix}/weight"] = moved.reshape(-1, *moved.shape[3:])
    operands = [node.input[0], f"{prefix}/weight"]
    if len(node.input) > 2 and node.input[2]:
        added[f"{prefix}/bias"] = np.tile(np.asarray(index.constant(node.input[2])), size * size)
        operands.append(f"{prefix}/bias")
    pads = [down.pads[0], right.pads[0], down.pads[1], right.pads[1]]
    padded: dict[str, Any] = {"pads": pads} if any(pads) else {}
    nodes = [helper.make_node("Conv", operands, [prefix], name=node.name, **padded)]
    output, last = node.output[0], prefix
    if activation is not None:
        output, last = activation.output[0], f"{prefix}/activated"
        nodes.append(onnx.NodeProto.FromString(activation.SerializeToString()))
        nodes[-1].input[0], nodes[-1].output[0] = prefix, last
    cut = any(itertools.chain(down.cut, right.cut))
    whole = f"{prefix}/whole" if cut else output
    shuffle = helper.make_node("DepthToSpace", [last], [whole], name=f"{prefix}/shuffle", blocksize=size, mode="DCR")
    if not cut:
        return [*nodes, shuffle]
    known = index.shape(node.output[0])
    if known is not None and None not in known[1:]:
        sides = [int(side or 0) + sum(axis.cut) for side, axis in zip(known[2:], (down, right), strict=True)]
        shape = [known[0] or "batch", known[1], *sides]
        shapes.append(helper.make_tensor_value_info(whole, onnx.TensorProto.FLOAT, shape))
    added[f"{prefix}/starts"] = np.array([down.cut[0], right.cut[0]])
    added[f"{prefix}/ends"] = np.array([-axis.cut[1] if axis.cut[1] else _TO_THE_END for axis in (down, right)])
    added[f"{prefix}/axes"] = np.array([2, 3])
    operands = [whole, f"{prefix}/starts", f"{prefix}/ends", f"{prefix}/axes"]
    return [*nodes, shuffle, helper.make_node("Slice", operands, [output], name=f"{prefix}/cut")]
