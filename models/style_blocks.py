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

_MODES: dict[Padding, Literal["reflect", "zeros", "replicate"]] = {
    "reflect": "reflect",
    "zero": "zeros",
    "replicate": "replicate",
}


class ConditionalAffine(nn.Module):
    """A scale and a shift for each style and channel, blended by N×styles weights: N×C×H×W to the same."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x, scaled and shifted."""
        return x * self._blend(self.scale, weights) + self._blend(self.shift, weights)

    def _blend(self, values: Tensor, weights: Tensor) -> Tensor:
        # No matrix product: so few numbers are no layer that a report should count.
        return (weights[:, :, None] * values).sum(dim=1)[:, :, None, None]


class _Normalised(nn.Module):
    """What follows a convolution: a norm, conditional instance norm where there are `styles`, and maybe a ReLU."""

    def __init__(self, channels: int, norm: Norm, styles: int, relu: bool = True) -> None:
        super().__init__()
        self.norm = _norm(norm, channels, styles)
        self.affine = ConditionalAffine(styles, channels) if styles else None
        self.relu = relu

    def finish(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """N×channels×H×W to the same."""
        x = self.norm(x)
        if self.affine is not None and weights is not None:
            x = self.affine(x, weights)
        return F.relu(x) if self.relu else x


class ConvNorm(_Normalised):
    """Convolution, norm, and a ReLU unless `relu` is false.

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
        super().__init__(out_channels, norm, styles, relu)
        # A norm takes the mean away, and has a shift of its own.
        bias = norm == "none" and not styles
        self.conv = _padded(channels, out_channels, kernel_size, stride, padding=padding, bias=bias)
        _begin(self.conv, relu)

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """N×channels×H×W to N×out×⌈H/stride⌉×⌈W/stride⌉."""
        return self.finish(self.conv(x), weights)


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


class Up(_Normalised):
    """N×channels×H×W to N×out×2H×2W, normalised, with a ReLU.

    nearest       each value four times, then a 3×3 convolution (Odena et al. 2016: no checkerboard)
    transposed    a 3×3 transposed convolution of stride 2, as in the paper of Johnson et al.
    shuffle       a 3×3 convolution to four times the channels, then a pixel shuffle (Shi et al. 2016)
    """

    def __init__(
        self, channels: int, out_channels: int, kind: Upsample, *, norm: Norm, padding: Padding, styles: int = 0
    ) -> None:
        super().__init__(out_channels, norm, styles)
        self.kind = kind
        bias = norm == "none" and not styles
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if kind == "transposed":
            self.conv = nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
        else:
            made = out_channels * 4 if kind == "shuffle" else out_channels
            self.conv = _padded(channels, made, 3, padding=padding, bias=bias)
        _begin(self.conv)

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """N×channels×H×W to N×out×2H×2W."""
        if self.kind == "nearest":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.conv(x)
        if self.kind == "shuffle":
            x = F.pixel_shuffle(x, 2)
        return self.finish(x, weights)


def _padded(
    channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, padding: Padding, bias: bool
) -> nn.Conv2d:
    """A convolution that gives a pixel for each that it reads, or of every stride-th row and column one."""
    return nn.Conv2d(
        channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        padding_mode=_MODES[padding],
        bias=bias,
    )


def _norm(kind: Norm, channels: int, styles: int) -> nn.Module:
    if styles:
        return nn.InstanceNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


def _begin(conv: nn.Conv2d | nn.ConvTranspose2d, relu: bool = True) -> None:
    """Where no norm follows, weights with which the result varies as what it was made of (He et al. 2015).

    With PyTorch's own it varies a sixth as much: ten layers on the picture is lost in their biases.
    """
    if conv.bias is not None:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu" if relu else "linear")
        nn.init.zeros_(conv.bias)


def to_colours(channels: int, kernel_size: int, padding: Padding) -> nn.Conv2d:
    """The convolution that makes a picture, which is grey before it was trained."""
    layer = _padded(channels, 3, kernel_size, padding=padding, bias=True)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, 0.5)
    return layer
