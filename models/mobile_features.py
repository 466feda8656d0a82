"""A small feature network in the manner of MobileNet (Howard et al. 2019, arXiv:1905.02244) with a VGG's features.

Its layers have the names, channels, strides and sizes of VGG16's, so that it stands in for one in any perceptual loss,
for a sixth of the arithmetic. The first layer is the teacher's own. In each other a 3×3 convolution has become what
MobileNet's inverted bottlenecks have between two wide layers: depthwise convolutions, a 1×1 convolution to few channels
and one to many, with ReLU behind the wide layer alone. `models/feature_fitting.py` finds the weights from the teacher's,
`models/feature_distillation.py` improves them.
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
    "relu1_2": Shape(24, 64, full=True),
    "relu2_1": Shape(40, 128, full=True),
    "relu2_2": Shape(40, 128, full=True),
    "relu3_1": Shape(96, 256),
    "relu3_2": Shape(80, 256),
    "relu3_3": Shape(80, 256),
    "relu4_1": Shape(112, 512),
    "relu4_2": Shape(112, 512),
    "relu4_3": Shape(112, 512),
    "relu5_1": Shape(112, 512),
}


class Bottleneck(nn.Module):
    """From many channels over few to many: N×C×H×W to N×wide×H×W, before the ReLU."""

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        self.taps = nn.ModuleList()
        if not shape.full:
            taps = (nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in range(TAPS))
            self.taps.extend(taps)
        mixed = max(1, len(self.taps)) * channels
        size = 3 if shape.full else 1
        self.narrow = nn.Conv2d(mixed, shape.narrow, size, padding=size // 2, bias=False)
        self.wide = nn.Conv2d(shape.narrow, shape.wide, 1)

    def spread(self, x: Tensor) -> Tensor:
        """What the depthwise convolutions make of N×C×H×W: N×(taps · C)×H×W, or `x` where there are none."""
        # Not one convolution with two filters for each channel, which is three times slower on the CPU.
        return torch.cat([tap(x) for tap in self.taps], dim=1) if len(self.taps) else x

    def forward(self, x: Tensor) -> Tensor:
        """The layer, before its ReLU."""
        found: Tensor = self.wide(self.narrow(self.spread(x)))
        return found


class MobileFeatures(nn.Module):
    """The layers "relu1_1" … "relu5_1" of VGG16, approximately. Images are normalised here."""

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
        return {layer: F.relu(value) for layer, value in self.before_relu(images, layers).items()}

    def before_relu(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features as `forward` gives them, but for the ReLU: what it is taught by."""
        wanted, found = {*layers}, dict[str, Tensor]()
        # Depthwise convolutions are several times faster in this layout on the CPU.
        x = self.first(((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last))
        if FIRST in wanted:
            found[FIRST] = x
        for layer, block in self.blocks.items():
            if len(found) == len(wanted):
                break
            x = block(entering(layer, x))
            if layer in wanted:
                found[layer] = x
        return {layer: found[layer] for layer in layers}


def entering(layer: str, x: Tensor) -> Tensor:
    """What a layer is given of the one before, N×C×H×W before its ReLU: at half the size where a block begins."""
    x = F.relu(x)
    return F.max_pool2d(x, 2) if layer.endswith("_1") else x


def build() -> MobileFeatures:
    """The network for the weights that ship with the project."""
    return MobileFeatures()
