"""From coarse to fine: the sizes that a picture goes through (`models/gatys.py`). Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.errors import InputError, ResourceError
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.models.memory import available_memory
from visiondeploy.types import Image

SMALLEST_SIDE = 32
"""Pixels that a photograph and a painting have a side at least: at the deepest layer of VGG these are two positions."""

COARSEST_SIDE = 64
"""Pixels that the shorter side of a coarse scale has at least; what would be smaller is left out."""

BYTES_PER_PIXEL = 6000
"""What a pixel of the picture takes; at 512×384 it was 3,900 with "vgg16-hed" and 5,100 with "mobilenet"."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One step from coarse to fine: the size of the picture, and how many iterations it gets."""

    height: int
    width: int
    iterations: int

    @property
    def work(self) -> int:
        """What it costs, in pixels times iterations."""
        return self.height * self.width * self.iterations


def size_of(image: Image) -> Size:
    """The size of an image H×W×3."""
    return image.shape[0], image.shape[1]


def scales_of(size: Size, settings: GatysSettings) -> tuple[Scale, ...]:
    """The sizes that a photograph of (height, width) goes through, the coarsest first, with their iterations.

    Raises `InputError` where the photograph is too small, or too long and thin for `settings.size`.
    """
    _check("photograph", size)
    finest = _fitted(size, settings.size)
    if min(finest) < SMALLEST_SIDE:
        raise InputError(
            f"the photograph is {size[1]}×{size[0]} pixels, and with {settings.size} for the longer side only "
            f"{min(finest)} are left for the other, expected at least {SMALLEST_SIDE}: choose a larger size or crop it."
        )
    sizes = [finest]
    for step in range(1, settings.scales):
        coarser = _fitted(size, settings.size / 2**step)
        if min(coarser) >= COARSEST_SIDE:
            sizes.insert(0, coarser)
    sizes = sizes[-settings.iterations :]
    ends = [settings.iterations * index // len(sizes) for index in range(len(sizes) + 1)]
    return tuple(Scale(*each, ends[index + 1] - ends[index]) for index, each in enumerate(sizes))


def check_memory(scale: Scale) -> None:
    """Raise `ResourceError` where the memory that is free will not do for the finest scale."""
    needed, available = scale.height * scale.width * BYTES_PER_PIXEL, available_memory()
    if available is not None and needed > available:
        raise ResourceError(
            f"a picture of {scale.width}×{scale.height} pixels takes about {needed / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are free: choose a smaller size."
        )


def check_painting(size: Size) -> None:
    """Raise `InputError` for a painting of which a network would see too little."""
    _check("painting", size)


def painting_size(size: Size, scale: Scale, settings: GatysSettings) -> Size:
    """What a painting is brought to at a scale.

    Never above its own size, where its strokes would only be blurred, and never below what a network can see.
    """
    longer = min(max(size), settings.style_size * max(scale.height, scale.width))
    height, width = _fitted(size, longer)
    return max(SMALLEST_SIDE, height), max(SMALLEST_SIDE, width)


def _check(kind: str, size: Size) -> None:
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"the {kind} is {size[1]}×{size[0]} pixels, expected at least {SMALLEST_SIDE} a side.")


def _fitted(size: Size, longer: float) -> Size:
    """That shape with another longer side."""
    ratio = longer / max(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
