"""VGG16 and VGG19 (Simonyan and Zisserman 2015, arXiv:1409.1556) up to their last convolution, as feature networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each block, by the depth that is in the name."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation that torchvision's weights are for, of RGB in 0…1."""

CAFFE = ((122.679 / 255, 116.669 / 255, 104.007 / 255), (1 / 255, 1 / 255, 1 / 255))
"""The mean that HED's weights are for; its values stay in 0…255."""


class VGG(nn.Module):
    """The layers "relu1_1" … "relu5_3" (VGG19: "relu5_4"), block and convolution counted from 1, behind the ReLU.

    Content and style are in the layers of Gatys et al. 2016. Images are normalised here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, depth: int, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__()
        self.content: tuple[str, ...] = ("relu4_2",)
        self.style: tuple[str, ...] = tuple(f"relu{block}_1" for block in range(1, 6))
        self.convolutions = nn.ModuleDict()
        channels = 3
        for layer, block, _ in _convolutions(depth):
            wider = min(512, 32 << block)
            self.convolutions[layer] = nn.Conv2d(channels, wider, 3, padding=1)
            channels = wider
        self.layers = tuple(self.convolutions)
        self.mean: Tensor
        self.std: Tensor
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalisation)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features N×C×H×W by layer. Raises `KeyError` for a layer that it does not have."""
        wanted, found = {*layers}, dict[str, Tensor]()
        x = (images - self.mean) / self.std
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(convolution(x))
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return {layer: found[layer] for layer in layers}


def vgg16() -> VGG:
    """VGG16 for torchvision's weights."""
    return VGG(16, IMAGENET)


def vgg19() -> VGG:
    """VGG19 for torchvision's weights."""
    return VGG(19, IMAGENET)


def vgg16_hed() -> VGG:
    """VGG16 for HED's weights, whose first layer takes RGB here."""
    return VGG(16, CAFFE)


def hed_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `vgg16_hed` from the tensors of HED's Keras file. Raises `KeyError` for one that is missing.

    Keras' kernels are height×width×in×out, and those of the first layer are for BGR.
    """
    state: dict[str, Tensor] = {}
    for layer, block, number in _convolutions(16):
        held = f"block{block}/layers/conv2d{f'_{number - 1}' if number > 1 else ''}/vars"
        kernel = tensors[f"{held}/0"].permute(3, 2, 0, 1)
        state[f"convolutions.{layer}.weight"] = kernel.flip(1) if layer == "relu1_1" else kernel
        state[f"convolutions.{layer}.bias"] = tensors[f"{held}/1"]
    return state


def vgg16_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `vgg16` from torchvision's. Raises `KeyError` for a tensor that is missing."""
    return _torchvision_state(tensors, 16)


def vgg19_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `vgg19` from torchvision's. Raises `KeyError` for a tensor that is missing."""
    return _torchvision_state(tensors, 19)


def _torchvision_state(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """torchvision counts convolutions, ReLUs and poolings from 0, in the order of execution."""
    return {
        f"convolutions.{layer}.{kind}": tensors[f"features.{2 * index + block - 1}.{kind}"]
        for index, (layer, block, _) in enumerate(_convolutions(depth))
        for kind in ("weight", "bias")
    }


def _convolutions(depth: int) -> Iterator[tuple[str, int, int]]:
    """The layer, the block and the number in it of each convolution."""
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        for number in range(1, count + 1):
            yield f"relu{block}_{number}", block, number
