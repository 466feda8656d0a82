"""Exact rewrites before quantisation: the same function, in operators that have integer kernels, or better ones.

pooling      ReduceMean over height and width ─► GlobalAveragePool
upsampling   nearest Resize, a convolution    ─► ConvTranspose                          `upsampling.py`
transposed   ConvTranspose                    ─► Conv, DepthToSpace                     `transposed.py`
phases       Conv to few channels             ─► Conv of a stride, DepthToSpace         `phases.py`
images       Conv of few channels             ─► the same
shuffles     DepthToSpace                     ─► Transpose and Reshape, channels last   `shuffles.py`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, attributes, copy_of, rebuild
from visiondeploy.calibration.phases import image_in_phases, in_phases
from visiondeploy.calibration.shuffles import written_out
from visiondeploy.calibration.transposed import as_convolutions, signed_as_convolutions
from visiondeploy.calibration.upsampling import upsampled


def pooled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with means over an image as pooling; nodes and results keep their names."""
    result = copy_of(model)
    index = GraphIndex(result.graph)
    nodes = [
        helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)
        if node.op_type == "ReduceMean" and _is_pooling(node, index)
        else node
        for node in result.graph.node
    ]
    rebuild(result.graph, nodes, {})
    return result


def _is_pooling(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a mean is over both axes of an image and keeps them."""
    found = attributes(node)
    axes = index.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if axes is None or found.get("keepdims", 1) != 1 or index.rank(node.input[0]) != 4:
        return False
    return sorted(int(axis) % 4 for axis in axes.reshape(-1)) == [2, 3]


REWRITES: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "pooling": pooled,
    "upsampling": upsampled,
    "transposed": as_convolutions,
    "signed": signed_as_convolutions,
    "phases": in_phases,
    "images": image_in_phases,
    "shuffles": written_out,
}


def rewrite(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """`model` after the rewrites of these names, in order: each gives a copy with every match rewritten.

    Nodes and results keep their names, and what is rewritten matches no more. `model` is not changed.
    """
    for name in names:
        model = REWRITES[name](model)
    return model
