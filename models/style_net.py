"""The network of Johnson, Alahi and Fei-Fei 2016 (arXiv:1603.08155): one painting's style in one pass.

    encoder    kernel×kernel convolution to `width` channels, then two of stride 2, each to twice the channels
    blocks     residual blocks at a quarter of the resolution
    decoder    two times up by 2, each to half the channels
    head       kernel×kernel convolution to the three colours, linear

each with a norm and a ReLU behind, the head and the second convolution of a block aside. With instance norm (Ulyanov et
al. 2016, arXiv:1607.08022), reflected borders and resizing in place of transposed convolutions (Odena et al. 2016) it
is what is common since; batch norm, zeros and transposed convolutions are the paper's. 1.68 M parameters at width 32.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from visiondeploy.models.style_blocks import ConvNorm, Norm, Padding, Residual, Up, Upsample, to_colours
from visiondeploy.types import Settings


class TransformSettings(Settings):
    """Options of every network that is made as this one. `kernel` is the size of the first and last convolution."""

    width: Annotated[int, Field(ge=1, le=512)] = 32
    blocks: Annotated[int, Field(ge=0, le=32)] = 5
    kernel: Literal[3, 5, 7, 9] = 9
    padding: Padding = "reflect"
    upsample: Upsample = "nearest"


class StyleNetSettings(TransformSettings):
    """Options of `style`. With `norm` "batch" an engine has no norms: they are folded into the convolutions."""

    norm: Literal["instance", "batch"] = "instance"


class StyleNet(nn.Module):
    """N×3×H×W float, normalised, to a picture N×3×H×W in 0 … 1, not clamped, for any H and W from 16 on."""

    def __init__(self, settings: TransformSettings, norm: Norm, styles: int = 0) -> None:
        super().__init__()
        width, kernel, padding = settings.width, settings.kernel, settings.padding
        self.encoder = nn.ModuleList(
            [
                ConvNorm(3, width, kernel, norm=norm, padding=padding, styles=styles),
                ConvNorm(width, width * 2, stride=2, norm=norm, padding=padding, styles=styles),
                ConvNorm(width * 2, width * 4, stride=2, norm=norm, padding=padding, styles=styles),
            ]
        )
        self.blocks = nn.ModuleList(
            Residual(width * 4, norm=norm, padding=padding, styles=styles) for _ in range(settings.blocks)
        )
        self.decoder = nn.ModuleList(
            [
                Up(width * 4, width * 2, settings.upsample, norm=norm, padding=padding, styles=styles),
                Up(width * 2, width, settings.upsample, norm=norm, padding=padding, styles=styles),
            ]
        )
        self.head = to_colours(width, kernel, padding)

    def forward(self, image: Tensor) -> Tensor:
        """The picture, at the input's own size."""
        return self.transform(image, None)

    def transform(self, image: Tensor, weights: Tensor | None) -> Tensor:
        """The picture in a blend of styles, where there are several: N×styles."""
        height, width = image.shape[-2], image.shape[-1]
        x = image
        for layer in self.encoder:
            x = layer(x, weights)
        for block in self.blocks:
            x = block(x, weights)
        for up in self.decoder:
            x = up(x, weights)
        # Down by 2 rounds up, so that there may be up to three rows and columns too many.
        made: Tensor = self.head(x)
        return made[..., :height, :width]


def build(settings: StyleNetSettings, classes: int) -> StyleNet:
    """A network for one style with random weights (PyTorch's default initialisation); `classes` does not matter."""
    return StyleNet(settings, settings.norm)
