"""Kernels without what never meets the image: exact where the size of the image is fixed.

A dilated kernel can be wider than the image that it runs over. A tap at k·dilation − pad from its output's place reads
padding alone, which is zero, for every output o of an axis of n pixels where

    o·stride − pad + k·dilation        lies outside of 0 … n − 1

The atrous pyramid of a DeepLabV3 (arXiv:1706.05587, section 3.3, where it is seen that "a 3×3 filter degenerates to a
1×1") has dilations up to 36 on maps of 32×32 for images of 512×512: one of its three big convolutions is 1×1.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from visiondeploy.calibration.codes import replace_constant
from visiondeploy.calibration.graph import GraphIndex, attributes, copy_of


def crop_kernels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model`, its shapes inferred, in which the rows and columns at the edges of kernels are gone that
    only read padding. What has a free size, or a weight that others read, stays. `model` is not changed.
    """
    result = copy_of(model)
    index = GraphIndex(result.graph)
    changed: set[str] = set()
    for node in result.graph.node:
        weight = index.constant(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or index.only_reader(node.input[1]) is None:
            continue
        found = _reached(node, weight.shape[2:], index.shape(node.input[0]))
        if found is None:
            continue
        taps, pads = found
        cropped = weight
        for axis, (first, last) in enumerate(taps, start=2):
            cropped = cropped.take(range(first, last + 1), axis)
        if cropped.shape != weight.shape:
            replace_constant(result.graph, node.input[1], cropped)
            _set(node, pads=pads, kernel_shape=list(cropped.shape[2:]))
            changed.add(node.input[1])
    # Exporters say shapes of constants too.
    for value in [value for value in result.graph.value_info if value.name in changed]:
        result.graph.value_info.remove(value)
    return result


def _reached(
    node: onnx.NodeProto, kernel: tuple[int, ...], shape: tuple[int | None, ...] | None
) -> tuple[list[tuple[int, int]], list[int]] | None:
    """The first and the last tap of each axis that reads the image somewhere, and the pads of the kernel between them.

    None where a size is not known, padding is left to the runtime, or all that an axis reads is padding.
    """
    axes, given = len(kernel), attributes(node)
    sizes = shape[2:] if shape is not None else ()
    if len(sizes) != axes or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    pads = list(given.get("pads", [0] * (2 * axes)))
    strides, dilations = given.get("strides", [1] * axes), given.get("dilations", [1] * axes)
    taps: list[tuple[int, int]] = []
    for axis, size in enumerate(sizes):
        if size is None:
            return None
        before, after, dilation = pads[axis], pads[axes + axis], dilations[axis]
        outputs = (size + before + after - dilation * (kernel[axis] - 1) - 1) // strides[axis] + 1
        places = np.arange(outputs)[:, None] * strides[axis] - before + np.arange(kernel[axis]) * dilation
        reads = ((places >= 0) & (places < size)).any(axis=0)
        if not reads.any():
            return None
        first, last = int(np.argmax(reads)), kernel[axis] - 1 - int(np.argmax(reads[::-1]))
        pads[axis], pads[axes + axis] = before - first * dilation, after - (kernel[axis] - 1 - last) * dilation
        taps.append((first, last))
    # Negative pads crop, which no runtime does in a convolution.
    return (taps, pads) if min(pads) >= 0 else None


def _set(node: onnx.NodeProto, **values: list[int]) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
