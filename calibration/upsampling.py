"""Nearest resizing and the convolution behind it as one transposed convolution: the same function.

    out[o] = Σ_v w[v]·x[⌊(o + v − P) / f⌋] = Σ_i Σ_u x[i]·W[u],     o = f·i + u − (k − 1 − P)
    W[u]   = Σ w[v] over v and 0 ≤ r < f with r − v + k − 1 = u

by axis, for a factor f, a kernel of k and borders of P. Each input is multiplied once for all the places that it is
copied to: of a 3×3 kernel behind a factor of 2, 16 times and not 36, and nothing is copied. Borders of zeros are those
of the transposed convolution. Repeated or reflected ones of less than f pixels are the outermost pixel of x, repeated.

OpenVINO 2026.4 takes 16 ms in int8 and not 29 for 128×128×128 to 64×256×256 with 3×3, 22 and not 38 for the same with
half the channels at twice the size; ONNX Runtime 1.32, by way of `transposed.py`, 23 and not 31, 36 and not 42 (one
core, AVX-512 VNNI).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, attributes, copy_of, rebuild
from visiondeploy.types import Array

_Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Match:
    """A Resize by `factor`, the Pad behind it if there is one, and the convolution.

    `borders` are P of both axes, before and behind; `repeated` says that they are no zeros.
    """

    resize: onnx.NodeProto
    pad: onnx.NodeProto | None
    convolution: onnx.NodeProto
    factor: int
    borders: tuple[_Pair, _Pair]
    repeated: bool


def upsampled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with every match rewritten; nodes and results keep their names. `model` is not changed."""
    result = copy_of(model)
    index = GraphIndex(result.graph)
    matches = [found for node in result.graph.node if (found := _match(node, index)) is not None]
    by_convolution = {match.convolution.output[0]: match for match in matches}
    gone = {node.output[0] for match in matches for node in (match.resize, match.pad) if node is not None}
    nodes: list[onnx.NodeProto] = []
    added: dict[str, Array] = {}
    for node in result.graph.node:
        if node.output[0] in by_convolution:
            nodes += _transposed(by_convolution[node.output[0]], index, added)
        elif node.output[0] not in gone:
            nodes.append(node)
    rebuild(result.graph, nodes, added)
    return result


def _match(resize: onnx.NodeProto, index: GraphIndex) -> _Match | None:
    if resize.op_type != "Resize" or (factor := _factor(resize, index)) is None:
        return None
    pad, reader = None, index.only_reader(resize.output[0])
    borders: tuple[_Pair, _Pair] = ((0, 0), (0, 0))
    repeated = False
    if reader is not None and reader.op_type == "Pad":
        found = _borders(reader, index)
        if found is None:
            return None
        pad, (borders, repeated) = reader, found
        reader = index.only_reader(reader.output[0])
    if reader is None or reader.op_type != "Conv" or not _is_plain(reader, index):
        return None
    pads = attributes(reader).get("pads", [0, 0, 0, 0])
    if pad is None:
        borders = ((pads[0], pads[2]), (pads[1], pads[3]))
    elif any(pads):
        return None
    kernel = index.extents(reader.input[1])[2:]
    sides = [(side, size) for pair, size in zip(borders, kernel, strict=True) for side in pair]
    # A border as wide as the kernel makes a row of nothing else; a reflected one of f or more is not of one pixel.
    if any(side >= size for side, size in sides) or (repeated and any(side >= factor for side, _ in sides)):
        return None
    return _Match(resize, pad, reader, factor, borders, repeated)


def _factor(node: onnx.NodeProto, index: GraphIndex) -> int | None:
    """f, where a Resize copies each pixel to f·f places."""
    scales = index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scales is None or scales.size != 4 or "axes" in attributes(node):
        return None
    factor = int(scales[3])
    found = attributes(node)
    nearest = found.get("nearest_mode", b"round_prefer_floor")
    way = (found.get("coordinate_transformation_mode", b"half_pixel"), nearest)
    # o / f is at most half a pixel beyond the one that it is in only where f is 2.
    copies = way == (b"asymmetric", b"floor") or (way == (b"asymmetric", b"round_prefer_floor") and factor == 2)
    copies = copies or (way[0] == b"half_pixel" and nearest in (b"round_prefer_floor", b"round_prefer_ceil"))
    copies = copies and found.get("mode", b"nearest") == b"nearest"
    return factor if copies and factor > 1 and list(scales) == [1, 1, factor, factor] else None


def _borders(node: onnx.NodeProto, index: GraphIndex) -> tuple[tuple[_Pair, _Pair], bool] | None:
    """P of height and width, and whether they are no zeros; None for what is no border of an image."""
    pads = index.constant(node.input[1])
    value = index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    mode = attributes(node).get("mode", b"constant")
    if pads is None or pads.size != 8 or pads.min() < 0 or any(pads[[0, 1, 4, 5]]):
        return None
    if (len(node.input) > 3 and node.input[3]) or mode not in (b"constant", b"edge", b"reflect"):
        return None
    if mode == b"constant" and (value is None or value.any()):
        return None
    _, _, top, left, _, _, bottom, right = (int(side) for side in pads)
    return ((top, bottom), (left, right)), mode != b"constant"


def _is_plain(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a convolution has a constant kernel wider than a pixel, and no stride, dilation nor groups."""
    weight = index.constant(node.input[1])
    if weight is None or weight.ndim != 4 or min(weight.shape[2:]) == 1:
        return False
    found = attributes(node)
    steps = {*found.get("dilations", [1]), *found.get("strides", [1])}
    return steps == {1} and found.get("group", 1) == 1 and found.get("auto_pad", b"NOTSET") == b"NOTSET"


def _transposed(match: _Match, index: GraphIndex, added: dict[str, Array]) -> list[onnx.NodeProto]:
    node, factor = match.convolution, match.factor
    weight = np.asarray(index.constant(node.input[1]))
    outputs, inputs, height, width = weight.shape
    prefix = f"{node.output[0]}/transposed"
    # u grows with o, and so against v.
    turned = weight[:, :, ::-1, ::-1]
    spread = np.zeros((outputs, inputs, height + factor - 1, width + factor - 1), dtype=weight.dtype)
    for down, right in itertools.product(range(factor), repeat=2):
        spread[:, :, down : down + height, right : right + width] += turned
    added[f"{prefix}/weight"] = np.ascontiguousarray(spread.swapaxes(0, 1))
    source, nodes = match.resize.input[0], []
    # Pixels of x that a repeated border takes; at least P / f, and P is less than f.
    more = [[int(match.repeated and side > 0) for side in pair] for pair in match.borders]
    if any(itertools.chain.from_iterable(more)):
        (top, bottom), (left, right) = more
        added[f"{prefix}/border"] = np.array([0, 0, top, left, 0, 0, bottom, right])
        bordered = f"{prefix}/bordered"
        nodes = [helper.make_node("Pad", [source, f"{prefix}/border"], [bordered], name=bordered, mode="edge")]
        source = bordered
    pads = [
        [size - 1 - side + factor * extra for side, extra in zip(pair, extras, strict=True)]
        for pair, extras, size in zip(match.borders, more, (height, width), strict=True)
    ]
    operands = [source, f"{prefix}/weight", *node.input[2:]]
    return [
        *nodes,
        helper.make_node(
            "ConvTranspose",
            operands,
            list(node.output),
            name=node.name,
            strides=[factor, factor],
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        ),
    ]
