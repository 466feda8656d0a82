"""A small feature network in the manner of MobileNet (Howard et al. 2019, arXiv:1905.02244) with a VGG's features.

Its layers have the names, channels, strides and sizes of VGG16's, so that it stands in for one in any perceptual loss,
for a sixth of the arithmetic. The first layer is the teacher's own. In each other a 3×3 convolution has become what
MobileNet's inverted bottlenecks have between two wide layers: depthwise convolutions, a 1×1 convolution to few
channels, and one to many. Only the wide layers have a ReLU, as they are the teacher's. torchvision's `InvertedResidual`
has one behind the depthwise convolution too, and its weights could not be found from the teacher's
(`models/feature_fitting.py`). `models/feature_distillation.py` improves what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visiondeploy.models.vgg import CAFFE

FIRST = "relu1_1"

TAPS = 2
"""Depthwise convolutions in each bottleneck: with one, too little is left of a 3×3 convolution."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer: few channels, many channels, and whether the convolution between is a full one."""

    narrow: int
    wide: int
    full: bool = False


# At the highest resolutions moving data takes longer than arithmetic, so that full convolutions are as fast.
SHAPES: dict[str, Shape] = {
    "relu1_2": Shape(16, 64, full=True),
    "relu2_1": Shape(32, 128, full=True),
    "relu2_2": Shape(32, 128, full=True),
    "relu3_1": Shape(96, 256),
    "relu3_2": Shape(80, 256),
    "relu3_3": Shape(80, 256),
    "relu4_1": Shape(112, 512),
    "relu4_2": Shape(112, 512),
    "relu4_3": Shape(112, 512),
    "relu5_1": Shape(112, 512),
}


class Bottleneck(nn.Module):
    """From many channels over few to many: N×C×H×W to N×wide×H×W, before the ReLU.

    `narrow` are what is added to get the few channels: one convolution, or several of depthwise and 1×1.
    """

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        if shape.full:
            self.narrow = nn.ModuleList([nn.Conv2d(channels, shape.narrow, 3, padding=1, bias=False)])
        else:
            self.narrow = nn.ModuleList(_separable(channels, shape.narrow) for _ in range(TAPS))
        self.wide = nn.Conv2d(shape.narrow, shape.wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The layer, before its ReLU."""
        few = self.narrow[0](x)
        for more in self.narrow[1:]:
            few = few + more(x)
        found: Tensor = self.wide(few)
        return found


def _separable(channels: int, narrow: int) -> nn.Sequential:
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, narrow, 1, bias=False))


class MobileFeatures(nn.Module):
    """The layers "relu1_1" … "relu5_1" of VGG16, approximately. Images are normalised here."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.content: tuple[str, ...] = ("relu4_2",)
        self.style: tuple[str, ...] = tuple(f"relu{block}_1" for block in range(1, 6))
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.blocks = nn.ModuleDict()
        channels = self.first.out_channels
        for layer, shape in SHAPES.items():
            self.blocks[layer] = Bottleneck(channels, shape)
            channels = shape.wide
        self.layers: tuple[str, ...] = (FIRST, *SHAPES)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in CAFFE)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features N×C×H×W by layer. Raises `KeyError` for a layer that it does not have."""
        wanted, found = {*layers}, dict[str, Tensor]()
        x = F.relu(self.begun(images), inplace=True)
        if FIRST in wanted:
            found[FIRST] = x
        for layer, block in self.blocks.items():
            if len(found) == len(wanted):
                break
            x = F.relu(block(pooled(layer, x)), inplace=True)
            if layer in wanted:
                found[layer] = x
        return {layer: found[layer] for layer in layers}

    def before_relu(self, images: Tensor) -> dict[str, Tensor]:
        """The features of all layers, but for their ReLU: what they are taught by."""
        found = {FIRST: self.begun(images)}
        for layer, block in self.blocks.items():
            found[layer] = block(pooled(layer, F.relu(next(reversed(found.values())))))
        return found

    def begun(self, images: Tensor) -> Tensor:
        """The first layer of images, normalised, before its ReLU."""
        # Depthwise convolutions are several times faster in this layout on the CPU.
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        found: Tensor = self.first(normalised)
        return found


def pooled(layer: str, x: Tensor) -> Tensor:
    """What a layer is given of the one before, N×C×H×W: at half the size where a block begins."""
    return F.max_pool2d(x, 2) if layer.endswith("_1") else x


def build() -> MobileFeatures:
    """The network for the weights that ship with the project."""
    return MobileFeatures()
