"""Pictures of any size through a function on pictures of one size: in tiles that overlap, blended without seams.

Along each axis tiles of size t are spread evenly over the picture, so that neighbours share at least an overlap of o
pixels. In the middle of what two share, over o/2 pixels, one fades into the other with a raised cosine; the weights
of all tiles add up to one everywhere. The outermost o/4 pixels of a tile are therefore not used, unless they are the
picture's own edge: whatever looks no farther than o/4 pixels gives the very pixels that it gives of the whole picture.

A network with instance norm looks as far as its tile reaches: its tiles differ in colour and contrast, which the
blending turns into gradients. `tone.py` is for those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.types import Array, Image

Transform = Callable[[Array], Array]
"""Pictures N×H×W×3 uint8 to as many of the same size, of a real type, in 0…255."""

SHARE = 4
"""Tiles overlap by one in so many of their pixels along an axis, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """The size of tiles, how many pixels neighbours share at least along each axis, and how many are run at once."""

    height: int
    width: int
    overlap: int
    batch: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < min(self.height, self.width):
            raise ValueError(f"an overlap of {self.overlap} does not fit tiles of {self.height}×{self.width}")


def tiled(transform: Transform, image: Image, tiling: Tiling, progress: Callable[[int, int], None]) -> Image:
    """What `transform` makes of an H×W×3 uint8 picture that it sees tile by tile, H×W×3 uint8.

    A picture that is smaller than a tile is padded by reflection, and what came out is cropped again. `progress` is
    told of tiles that are done, and of how many. Beside the result, memory is taken for one row of tiles in float32.
    Raises `InputError` where `transform` returns another size than it was given.
    """
    height, width = image.shape[:2]
    padded = padded_to(image, max(height, tiling.height), max(width, tiling.width))
    rows = _spread(padded.shape[0], tiling.height, tiling.overlap)
    columns = _spread(padded.shape[1], tiling.width, tiling.overlap)
    done = np.empty_like(padded)
    total, made = len(rows) * len(columns), 0
    band = np.zeros((tiling.height, *padded.shape[1:]), dtype=np.float32)
    top = 0
    for row, after in zip(rows, [*(row.start for row in rows[1:]), padded.shape[0]], strict=True):
        # What is in the band belongs to the row of tiles before; its lower part is shared with this one.
        shared = tiling.height - (row.start - top)
        band[:shared] = band[row.start - top :]
        band[shared:] = 0
        top = row.start
        strip = padded[top : top + tiling.height]
        for column, tile in _transformed(transform, strip, columns, tiling):
            weights = row.weights[:, None, None] * column.weights[:, None]
            band[:, column.start : column.start + tiling.width] += weights * tile
            made += 1
            progress(made, total)
        done[top:after] = to_bytes(band[: after - top])
    return done[:height, :width]


def to_bytes(picture: Array) -> Image:
    """A picture of a real type in 0…255 as uint8: rounded, and cut off at both ends."""
    found: Image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return found


def padded_to(image: Image, height: int, width: int) -> Image:
    """A picture H×W×3 brought to at least its own size by reflection, below and on the right."""
    missing = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, missing, mode="reflect") if any(map(any, missing)) else image


def _transformed(
    transform: Transform, strip: Image, columns: list[_Extent], tiling: Tiling
) -> Iterator[tuple[_Extent, Array]]:
    for first in range(0, len(columns), tiling.batch):
        group = columns[first : first + tiling.batch]
        tiles = np.stack([strip[:, column.start : column.start + tiling.width] for column in group])
        found = transform(tiles)
        if found.shape != tiles.shape:
            sizes = " and ".join("×".join(map(str, array.shape[1:])) for array in (tiles, found))
            raise InputError(
                f"tiles and what the network made of them differ in size ({sizes}): it makes no pictures of its "
                "input's own pixels, or takes sizes of a certain multiple only."
            )
        yield from zip(group, found, strict=True)


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where tiles lie along one axis: the first pixel, and the weight of each, (size,) float32."""

    start: int
    weights: Array


def _spread(length: int, size: int, overlap: int) -> list[_Extent]:
    """Tiles along an axis, from end to end: as few as overlap enough, evenly spread. Their weights add up to one."""
    count = max(1, -(-(length - overlap) // (size - overlap)))
    starts = [round(number * (length - size) / max(1, count - 1)) for number in range(count)]
    # Around the middle of what two tiles share, one fades into the other.
    middles = [(start + before + size) / 2 for before, start in pairwise(starts)]
    return [
        _Extent(start, _risen(start, size, come, overlap / 2) - _risen(start, size, gone, overlap / 2))
        for start, come, gone in zip(starts, [-np.inf, *middles], [*middles, np.inf], strict=True)
    ]


def _risen(start: int, size: int, middle: float, wide: float) -> Array:
    """From 0 to 1 along an axis, over `wide` pixels around `middle`: the pixels from `start` on, (size,) float32."""
    distance = np.arange(start + 0.5, start + size) - middle
    found = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / max(wide, 1.0) + 0.5, 0, 1))
    return found.astype(np.float32)
