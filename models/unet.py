"""UNet (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597) with batch norm and "same" padding.

    encoder   level 0 … depth-1: DoubleConv, then max pooling by 2; channels double at each level
    bottom    DoubleConv
    decoder   level depth-1 … 0: up by 2, concat with the skip of that level, DoubleConv
    head      1×1 convolution to the classes

At base width 64 and depth 4 this is the 31.0 M parameter network of the paper. With `separable` each 3×3
convolution but the first is a depthwise and a pointwise one (Howard et al. 2017, arXiv:1704.04861): 6.0 M.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from visiondeploy.types import Settings


class UNetSettings(Settings):
    """Options of `unet`. `up` is how the decoder doubles its resolution, `separable` the kind of its convolutions."""

    base_width: Annotated[int, Field(ge=1, le=1024)] = 64
    depth: Annotated[int, Field(ge=1, le=7)] = 4
    up: Literal["transpose", "bilinear", "nearest"] = "transpose"
    separable: bool = False


class DoubleConv(nn.Sequential):
    """Twice: 3×3 convolution, batch norm, ReLU. N×in×H×W to N×out×H×W.

    With `separable` a depthwise 3×3 and a pointwise convolution, each with batch norm and ReLU. What reads the
    image itself stays dense: a filter to each of three colours is too little for all that follows.
    """

    def __init__(self, in_channels: int, out_channels: int, separable: bool = False, image: bool = False) -> None:
        layers: list[nn.Module] = []
        for number, channels in enumerate((in_channels, out_channels)):
            if separable and not (image and number == 0):
                layers += _normalised(channels, channels, kernel_size=3, groups=channels)
                layers += _normalised(channels, out_channels, kernel_size=1)
            else:
                layers += _normalised(channels, out_channels, kernel_size=3)
        super().__init__(*layers)


def _normalised(channels: int, out_channels: int, kernel_size: int, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    return [
        # No bias: the batch norm that follows has one.
        nn.Conv2d(channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def _upsampler(kind: str, channels: int) -> nn.Module:
    """N×channels×H×W to N×channels/2×2H×2W."""
    if kind == "transpose":
        return nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
    align = False if kind == "bilinear" else None
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode=kind, align_corners=align),
        nn.Conv2d(channels, channels // 2, kernel_size=1),
    )


class UNet(nn.Module):
    """N×3×H×W float to logits N×classes×H×W, for any H and W.

    Sizes that are no multiple of 2^depth are padded at the right and bottom by repeating the border,
    which keeps the padding's statistics like the image's, and cropped back at the end.
    """

    def __init__(self, settings: UNetSettings, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        widths = [settings.base_width * 2**level for level in range(settings.depth + 1)]
        self.multiple = 2**settings.depth
        self.encoder = nn.ModuleList()
        channels = in_channels
        separable = settings.separable
        for width in widths[:-1]:
            self.encoder.append(DoubleConv(channels, width, separable, image=not self.encoder))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.bottom = DoubleConv(channels, widths[-1], separable)
        self.up = nn.ModuleList(_upsampler(settings.up, width * 2) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(DoubleConv(width * 2, width, separable) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, N×classes×H×W, at the input's own size."""
        height, width = image.shape[-2], image.shape[-1]
        right, bottom = -width % self.multiple, -height % self.multiple
        x = image
        # Under torch.export a free size is symbolic, no int: then the padding stays in the graph.
        if not (isinstance(right, int) and isinstance(bottom, int) and right == 0 and bottom == 0):
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]


def build(settings: UNetSettings, classes: int) -> UNet:
    """A UNet with random weights (PyTorch's default initialisation, from the global generator)."""
    return UNet(settings, classes)
