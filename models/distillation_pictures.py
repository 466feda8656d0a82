"""Pictures for teaching feature networks: photographs, paintings, and what lies on an optimisation's way between them.

All is drawn from a seed, so that a picture is the same wherever and whenever it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.types import Image

SCALES = (0.25, 1.5)
"""The smallest and largest factor by which a picture is scaled; it always covers the crop."""


def drawn_picture(photograph: Image, paintings: Sequence[Image], size: int, seed: int) -> Tensor:
    """A picture 3×size×size float32 in 0…1 made of a photograph H×W×3 uint8 and one of the paintings.

    Half are crops of either; a third are blends of the two; the rest is smooth and random. Most are then given other
    colours and some get noise.
    """
    random = torch.Generator().manual_seed(seed)
    painting = paintings[_whole(random, len(paintings))] if paintings else photograph
    kind = _uniform(random, 0, 1)
    if kind < 0.35:
        picture = _crop(photograph, size, random)
    elif kind < 0.55:
        picture = _crop(painting, size, random)
    elif kind < 0.9:
        share = _uniform(random, 0.15, 0.85)
        picture = torch.lerp(_crop(photograph, size, random), _crop(painting, size, random), share)
    else:
        picture = _smooth(size, random)
    if _uniform(random, 0, 1) < 0.7:
        picture = _coloured(picture, random)
    if _uniform(random, 0, 1) < 0.45:
        picture = _noisy(picture, random)
    return picture.clamp(0, 1)


def _crop(image: Image, size: int, random: torch.Generator) -> Tensor:
    """A square of a scaled picture, perhaps mirrored."""
    height, width = image.shape[:2]
    factor = math.exp(_uniform(random, math.log(SCALES[0]), math.log(SCALES[1])))
    factor = max(factor, size / height, size / width)
    # The square in the picture that becomes the crop, so that no more than it is scaled.
    side = min(height, width, round(size / factor))
    top, left = _whole(random, height - side + 1), _whole(random, width - side + 1)
    square = torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float() / 255.0
    scaled = F.interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    return scaled.flip(-1) if _uniform(random, 0, 1) < 0.5 else scaled


def _smooth(size: int, random: torch.Generator) -> Tensor:
    """Random colours on a coarse grid, interpolated."""
    cells = 2 + _whole(random, 30)
    coarse = torch.rand((1, 3, cells, cells), generator=random)
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0]


def _coloured(picture: Tensor, random: torch.Generator) -> Tensor:
    """Another saturation, contrast and brightness in each channel."""
    grey = picture.mean(dim=0, keepdim=True)
    picture = torch.lerp(grey, picture, _uniform(random, 0.3, 1.6))
    gain = 0.6 + 0.9 * torch.rand((3, 1, 1), generator=random)
    shift = 0.3 * (torch.rand((3, 1, 1), generator=random) - 0.5)
    middle = picture.mean(dim=(1, 2), keepdim=True)
    return (picture - middle) * gain + middle + shift


def _noisy(picture: Tensor, random: torch.Generator) -> Tensor:
    """Gaussian noise of pixels, or of cells of two or four."""
    strength = math.exp(_uniform(random, math.log(0.01), math.log(0.3)))
    cell = 2 ** _whole(random, 3)
    height, width = (-(-extent // cell) for extent in picture.shape[1:])
    noise = torch.randn((1, 3, height, width), generator=random).repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return picture + strength * noise[0, :, : picture.shape[1], : picture.shape[2]]


def _uniform(random: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _whole(random: torch.Generator, count: int) -> int:
    """An integer from 0 to below `count`."""
    return int(torch.randint(0, max(1, count), (), generator=random))
