"""Which node of a graph a kernel of ONNX Runtime computes, as the kernel's name tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from visiondeploy.pipeline.backends.inside import LayerDetail
from visiondeploy.pipeline.backends.onnx_file import LAYERS
from visiondeploy.types import Layer

WORK = re.compile(r"Conv|MatMul|Gemm")
"""What kernels that hold the work are called, with whatever a fusion or a layout puts around it."""

_ADDED = re.compile(r"^InsertedPrecisionFreeCast_|^fused |(?:_token_\d+|_nchwc)+$")
"""What ONNX Runtime 1.32 puts around a name: an fp16 graph in fp32, a fusion, a layout for convolutions."""


class Nodes:
    """The nodes of a graph, found by the kernels that compute them.

    A kernel is called after a node, or after the tensor that ends what is fused: "relu_nchwc" is the convolution
    that is computed with the ReLU behind it.
    """

    def __init__(self, layers: Sequence[LayerDetail]) -> None:
        self._by_name = {layer.name: layer for layer in layers}
        self._makers = {spec.name: layer for layer in layers for spec in layer.outputs}

    def computed_by(self, kernel: Layer) -> LayerDetail | None:
        """The node; of a kernel that holds the work the product. None where its name leads to none."""
        name = _ADDED.sub("", kernel.name)
        layer = self._by_name.get(name) or self._makers.get(name)
        if WORK.search(kernel.kind):
            while layer is not None and layer.kind not in LAYERS:
                layer = self._makers.get(layer.inputs[0].name) if layer.inputs else None
        return layer


def with_kernels(layers: Sequence[LayerDetail], recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
    """The layers of a graph with the types that its products were computed in; None for one that no kernel names."""
    nodes = Nodes(layers)
    found = [(nodes.computed_by(kernel), kernel) for kernel in recorded]
    kernels = {layer.name: kernel for layer, kernel in found if layer is not None}
    return tuple(
        replace(layer, compute=kernels[layer.name].compute, provider=kernels[layer.name].provider)
        if layer.name in kernels
        else replace(layer, compute=None)
        for layer in layers
    )
