"""What networks of style transfer are made of: padded convolutions with a norm, residual blocks, up-sampling by 2.

With `weights` N×styles the norm behind a convolution is conditional (Dumoulin et al. 2017, arXiv:1610.07629, eq. 5):
each style has a scale and a shift for every channel, and blends of styles have the blend of those.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["instance", "batch", "none"]
Padding = Literal["reflect", "zero", "replicate"]
Upsample = Literal["nearest", "transposed", "shuffle"]

_MODES = {"reflect": "reflect", "zero": "zeros", "replicate": "replicate"}


class ConditionalAffine(nn.Module):
    """A scale and a shift for each style and channel, blended by N×styles weights: N×C×H×W to the same."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x, scaled and shifted."""
        scale, shift = weights @ self.scale, weights @ self.shift
        return x * scale[:, :, None, None] + shift[:, :, None, None]


class ConvNorm(nn.Module):
    """Convolution to ⌈H/stride⌉×⌈W/stride⌉, norm, and a ReLU unless `relu` is false.

    With `styles` the norm is conditional instance norm, whatever `norm` says.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        norm: Norm,
        padding: Padding,
        styles: int = 0,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            padding_mode=_MODES[padding],
            # A norm takes the mean away, and has a shift of its own.
            bias=norm == "none" and not styles,
        )
        self.norm = _norm(norm, out_channels, styles)
        self.affine = ConditionalAffine(styles, out_channels) if styles else None
        self.relu = relu

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """N×channels×H×W to N×out×⌈H/stride⌉×⌈W/stride⌉."""
        x = self.norm(self.conv(x))
        if self.affine is not None and weights is not None:
            x = self.affine(x, weights)
        return F.relu(x) if self.relu else x


class Residual(nn.Module):
    """x + f(x) with two 3×3 convolutions (He et al. 2016), without a ReLU behind the sum (Gross and Wilber 2016)."""

    def __init__(self, channels: int, *, norm: Norm, padding: Padding, styles: int = 0) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, norm=norm, padding=padding, styles=styles)
        self.second = ConvNorm(channels, channels, norm=norm, padding=padding, styles=styles, relu=False)

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """N×channels×H×W to the same."""
        made: Tensor = x + self.second(self.first(x, weights), weights)
        return made


class Up(nn.Module):
    """N×channels×H×W to N×out×2H×2W, normalised, with a ReLU.

    nearest       each value four times, then a 3×3 convolution (Odena et al. 2016: no checkerboard)
    transposed    a 3×3 transposed convolution of stride 2, as in the paper of Johnson et al.
    shuffle       a 3×3 convolution to four times the channels, then a pixel shuffle (Shi et al. 2016)
    """

    def __init__(
        self, channels: int, out_channels: int, kind: Upsample, *, norm: Norm, padding: Padding, styles: int = 0
    ) -> None:
        super().__init__()
        self.kind = kind
        bias = norm == "none" and not styles
        self.conv: nn.Module
        if kind == "transposed":
            self.conv = nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
        else:
            made = out_channels * 4 if kind == "shuffle" else out_channels
            self.conv = nn.Conv2d(channels, made, 3, padding=1, padding_mode=_MODES[padding], bias=bias)
        self.norm = _norm(norm, out_channels, styles)
        self.affine = ConditionalAffine(styles, out_channels) if styles else None

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """N×channels×H×W to N×out×2H×2W."""
        if self.kind == "nearest":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.conv(x)
        if self.kind == "shuffle":
            x = F.pixel_shuffle(x, 2)
        x = self.norm(x)
        if self.affine is not None and weights is not None:
            x = self.affine(x, weights)
        return F.relu(x)


def _norm(kind: Norm, channels: int, styles: int) -> nn.Module:
    if styles:
        return nn.InstanceNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


def to_colours(channels: int, kernel_size: int, padding: Padding) -> nn.Conv2d:
    """The convolution that makes a picture, which is grey before it was trained."""
    layer = nn.Conv2d(channels, 3, kernel_size, padding=kernel_size // 2, padding_mode=_MODES[padding])
    assert layer.bias is not None
    nn.init.constant_(layer.bias, 0.5)
    return layer
