"""Any style, shown as a second picture (Huang and Belongie 2017, arXiv:1703.06868): adaptive instance normalisation.

    encoder    kernel×kernel convolution, two of stride 2, residual blocks; of the content and of the style alike
    AdaIN      t = σ(s)·(c − μ(c)) / σ(c) + μ(s)      per picture and channel, over height and width
    decoder    residual blocks, two times up by 2, kernel×kernel convolution to the three colours

The paper encodes with VGG, twice in each call. Here the encoder is a small one of its own that is trained with the
decoder: VGG is needed in training alone, for the loss. As there, no norm follows that would undo what AdaIN sets, nor,
but for batch norm, is one in front, that would take away what it reads.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from visiondeploy.models.style_blocks import ConvNorm, Residual, Up, to_colours
from visiondeploy.models.style_net import TransformSettings


class StyleAdainSettings(TransformSettings):
    """Options of `style-adain`. `blocks` is the number of residual blocks on each side of AdaIN, `norm` the encoder's.

    `strength` is the share of what AdaIN makes, of 1, in what is decoded: 0 keeps the content's own style.
    """

    blocks: Annotated[int, Field(ge=0, le=32)] = 3
    norm: Literal["none", "batch"] = "none"
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0


class StyleAdain(nn.Module):
    """Content N×3×H×W and style N×3×Hs×Ws, normalised floats, to a picture N×3×H×W in 0 … 1; any size from 16 on."""

    def __init__(self, settings: StyleAdainSettings) -> None:
        super().__init__()
        width, kernel, padding, norm = settings.width, settings.kernel, settings.padding, settings.norm
        self.strength = settings.strength
        self.encoder = nn.Sequential(
            ConvNorm(3, width, kernel, norm=norm, padding=padding),
            ConvNorm(width, width * 2, stride=2, norm=norm, padding=padding),
            ConvNorm(width * 2, width * 4, stride=2, norm=norm, padding=padding),
            *(Residual(width * 4, norm=norm, padding=padding) for _ in range(settings.blocks)),
        )
        self.decoder = nn.Sequential(
            *(Residual(width * 4, norm="none", padding=padding) for _ in range(settings.blocks)),
            Up(width * 4, width * 2, settings.upsample, norm="none", padding=padding),
            Up(width * 2, width, settings.upsample, norm="none", padding=padding),
        )
        self.head = to_colours(width, kernel, padding)

    def forward(self, image: Tensor, style: Tensor | None = None) -> Tensor:
        """The picture at the content's own size; without a style in the content's own."""
        height, width = image.shape[-2], image.shape[-1]
        content = self.encoder(image)
        shown = content if style is None else self.encoder(style)
        made: Tensor = self.head(self.decoder(adain(content, shown, self.strength)))
        return made[..., :height, :width]


def adain(content: Tensor, style: Tensor, strength: float = 1.0, epsilon: float = 1e-5) -> Tensor:
    """Features N×C×H×W with the mean and deviation of other features N×C×Hs×Ws, in part if `strength` is below 1.

    `epsilon` is added to each variance before its root is taken.
    """
    mean = style.mean(dim=(2, 3), keepdim=True)
    variance = (style - mean).square().mean(dim=(2, 3), keepdim=True)
    normalised = nn.functional.instance_norm(content, eps=epsilon)
    made = normalised * torch.sqrt(variance + epsilon) + mean
    return made if strength == 1.0 else content + strength * (made - content)


def build(settings: StyleAdainSettings, classes: int) -> StyleAdain:
    """A network with random weights; `classes` does not matter."""
    return StyleAdain(settings)
