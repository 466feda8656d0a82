"""Which node of a graph a kernel of ONNX Runtime computes, as the kernel's name tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from visiondeploy.pipeline.backends.inside import LayerDetail
from visiondeploy.pipeline.backends.onnx_file import LAYERS
from visiondeploy.types import Layer

_ADDED = re.compile(r"^InsertedPrecisionFreeCast_|(?:_token_\d+|_nchwc)+$")
"""What ONNX Runtime 1.32 puts around a name: an fp16 graph in fp32, a fusion, a layout for convolutions."""


def with_kernels(layers: Sequence[LayerDetail], recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
    """The layers of a graph with the types that its products were computed in; None for one that no kernel names.

    A kernel is called after a node, or after the tensor that ends what is fused: "relu_nchwc" is the convolution
    that is computed with the ReLU behind it.
    """
    by_name = {layer.name: layer for layer in layers}
    makers = {spec.name: layer for layer in layers for spec in layer.outputs}
    kernels: dict[str, Layer] = {}
    for kernel in recorded:
        name = _ADDED.sub("", kernel.name)
        layer = by_name.get(name) or makers.get(name)
        while layer is not None and layer.kind not in LAYERS:
            layer = makers.get(layer.inputs[0].name) if layer.inputs else None
        if layer is not None:
            kernels[layer.name] = kernel
    return tuple(
        replace(layer, compute=kernels[layer.name].compute, provider=kernels[layer.name].provider)
        if layer.name in kernels
        else replace(layer, compute=None)
        for layer in layers
    )
