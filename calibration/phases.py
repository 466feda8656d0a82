"""Convolutions of an image to or from few channels, computed for a block of pixels at once: the same sums.

A convolution to m channels of stride 1 gives for the pixel (s·i + a, s·j + b), with 0 ≤ a, b < s,

    out[c, s·i + a, s·j + b] = bias[c] + Σ_d Σ_u Σ_v in[d, s·i + a + u, s·j + b + v] · w[c, d, u, v]

so that one of stride s to s·s·m channels, whose kernel is that of c moved by (a, b) in (k + s − 1)² places, gives all
of a block, and a shuffle (Shi et al. 2016, arXiv:1609.05158) puts them in place. It multiplies ((k + s − 1) / k)² times
as much. But integer kernels compute 16 channels or more at once, whether they are there or not, and gather what they
read once for a block, which for an image of three channels takes longer than the products. The last and the first
convolution of a style network, 9×9 from 32 channels to 3 and back at 512×512, in ms on one core (AVX-512 VNNI):

    s                                     1      2      4
    ONNX Runtime 1.32, int8, last       486     85     27
    OpenVINO 2026.4, int8, last          76     29     32
    ONNX Runtime 1.32, int8, first       67     22     29
    OpenVINO 2026.4, int8, first         18     24     32
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, attributes, copy_of, rebuild
from visiondeploy.types import Array

FEW = 3
"""Channels up to which it pays: those of an image."""

LANES = 16
"""Channels that a kernel computes at once."""

WIDE = 5
"""The kernel from which gathering an image takes longer than its products."""


def in_phases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with convolutions to few channels rewritten; nodes and results keep their names."""
    return _rewritten(model, _step_of_outputs)


def image_in_phases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with wide convolutions of few channels rewritten; nodes and results keep their names."""
    return _rewritten(model, _step_of_image)


def _rewritten(model: onnx.ModelProto, step_of: Callable[[Sequence[int]], int]) -> onnx.ModelProto:
    result = copy_of(model)
    index = GraphIndex(result.graph)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, Array] = {}
    shapes: list[onnx.ValueInfoProto] = []
    for node in result.graph.node:
        step = step_of(index.extents(node.input[1])) if _is_plain(node, index) else 1
        nodes += [node] if step == 1 else _blocks(node, step, index, added, shapes)
    rebuild(result.graph, nodes, added)
    result.graph.value_info.extend(shapes)
    return result


def _is_plain(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether it is a convolution with constants, without stride, dilation and groups."""
    if node.op_type != "Conv" or any(index.constant(name) is None for name in node.input[1:] if name):
        return False
    found = attributes(node)
    steps = {*found.get("dilations", [1]), *found.get("strides", [1])}
    plain = steps == {1} and found.get("group", 1) == 1 and found.get("auto_pad", b"NOTSET") == b"NOTSET"
    return plain and len(index.extents(node.input[1])) == 4


def _step_of_outputs(shape: Sequence[int]) -> int:
    """s for out × in × k × k: the least work, where gathering for an output takes as long as 16 channels of it."""
    outputs, _, height, width = shape
    if outputs > FEW or max(height, width) == 1:
        return 1

    def work(step: int) -> float:
        taps = (height + step - 1) * (width + step - 1)
        return taps * (-(-outputs * step * step // LANES) + 1) / step**2

    return min((1, 2, 4), key=work)


def _step_of_image(shape: Sequence[int]) -> int:
    _, inputs, height, width = shape
    return 2 if inputs <= FEW and min(height, width) >= WIDE else 1


def _blocks(
    node: onnx.NodeProto, step: int, index: GraphIndex, added: dict[str, Array], shapes: list[onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    weight = np.asarray(index.constant(node.input[1]))
    outputs, inputs, height, width = weight.shape
    moved = np.zeros((step, step, outputs, inputs, height + step - 1, width + step - 1), dtype=weight.dtype)
    for down in range(step):
        for right in range(step):
            moved[down, right, :, :, down : down + height, right : right + width] = weight
    output = node.output[0]
    prefix = f"{output}/phases"
    added[f"{prefix}/weight"] = moved.reshape(-1, *moved.shape[3:])
    operands = [node.input[0], f"{prefix}/weight"]
    if len(node.input) > 2 and node.input[2]:
        added[f"{prefix}/bias"] = np.tile(np.asarray(index.constant(node.input[2])), step * step)
        operands.append(f"{prefix}/bias")
    pads = list(attributes(node).get("pads", [0, 0, 0, 0]))
    size = index.shape(output)
    whole = size is not None and all(side is not None and side % step == 0 for side in size[2:])
    # The last block may reach over the border.
    reach = pads if whole else [*pads[:2], pads[2] + step - 1, pads[3] + step - 1]
    nodes = [helper.make_node("Conv", operands, [prefix], name=node.name, strides=[step, step], pads=reach)]
    made = output if whole else f"{prefix}/whole"
    nodes.append(
        helper.make_node("DepthToSpace", [prefix], [made], name=f"{prefix}/shuffle", blocksize=step, mode="DCR")
    )
    if whole:
        return nodes
    if size is not None and None not in size[1:]:
        sides = [-(-int(side or 0) // step) * step for side in size[2:]]
        shapes.append(
            helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, [size[0] or "batch", size[1], *sides])
        )
    return [*nodes, *_cut(made, node, pads, (height, width), prefix, added)]


def _cut(
    source: str, node: onnx.NodeProto, pads: list[int], kernel: tuple[int, int], prefix: str, added: dict[str, Array]
) -> list[onnx.NodeProto]:
    """To the size that the convolution gives: that of its input and borders, less the kernel's reach."""
    added[f"{prefix}/more"] = np.array([pads[axis] + pads[axis + 2] - kernel[axis] + 1 for axis in range(2)])
    added[f"{prefix}/starts"] = np.array([0, 0])
    added[f"{prefix}/axes"] = np.array([2, 3])
    operands = [source, f"{prefix}/starts", f"{prefix}/ends", f"{prefix}/axes"]
    return [
        helper.make_node("Shape", [node.input[0]], [f"{prefix}/size"], name=f"{prefix}/size", start=2),
        helper.make_node("Add", [f"{prefix}/size", f"{prefix}/more"], [f"{prefix}/ends"], name=f"{prefix}/ends"),
        helper.make_node("Slice", operands, list(node.output), name=f"{prefix}/cut"),
    ]
