"""The tone of a picture that was made in tiles, taken from the whole picture seen at once, at a smaller size.

A network with instance norm looks as far as its tile reaches, because mean and variance are those of the tile: a tile
of sky alone gets the contrast that the whole picture should have had, and comes out as dark as the ground. Blending
turns that into gradients and does not make it right. But such a network also makes a picture of the whole image,
squeezed into one tile, whose strokes are too large and whose tone is right. So the tiled picture's mean colours, cell
by cell, are moved to those of that one; its strokes stay.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow

from visiondeploy.pipeline.tiles import Transform, to_bytes
from visiondeploy.types import Array, Image

CELL = 32
"""Pixels of the smaller picture along each axis, over which colours are averaged: more than its strokes are wide."""

STRIP = 256
"""Rows that are computed at once."""

_TOLERANCE = 1.0
"""Of 255, within which two results are the same: kernels may round differently from one call to the next."""


def is_local(transform: Transform, tile: Image) -> bool:
    """Whether a transform of pictures looks at a pixel's surroundings alone, and not as far as its tile reaches.

    The right quarter of a tile is painted black or white, and the left quarter of the result is compared. A receptive
    field of more than half a tile counts as the whole.
    """
    quarter = max(1, tile.shape[1] // 4)
    other = tile.copy()
    other[:, -quarter:] = 0 if other[:, -quarter:].mean() > 127 else 255
    # One after the other: a batch of two is another shape, for which some engines are compiled anew.
    before, after = (transform(one[None])[0, :, :quarter].astype(np.float32) for one in (tile, other))
    return bool(np.abs(before - after).max() <= _TOLERANCE)


def shrunk(image: Image, height: int, width: int) -> Image:
    """The whole of an image, H×W×3 uint8, at another size, its aspect given up."""
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))


def toned(picture: Image, guide: Image) -> Image:
    """A picture with the mean colours of a smaller one of the same scene, cell by cell, between which it is faded.

    Both are H×W×3 uint8, of any sizes; the result has the picture's.
    """
    cells = [max(1, round(size / CELL)) for size in guide.shape[:2]]
    wanted, found = (_means(image, *cells) for image in (guide, picture))
    rows, columns = (_tents(size, count) for size, count in zip(picture.shape[:2], cells, strict=True))
    across = np.einsum("xj,ijc->ixc", columns, wanted - found)
    result = np.empty_like(picture)
    for top in range(0, len(picture), STRIP):
        strip = slice(top, top + STRIP)
        result[strip] = to_bytes(picture[strip] + np.einsum("yi,ixc->yxc", rows[strip], across))
    return result


def _means(image: Image, height: int, width: int) -> Array:
    """The mean colours of height × width cells, float32."""
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BOX), dtype=np.float32)


def _tents(length: int, cells: int) -> Array:
    """The weights of linear interpolation between the middles of cells, length × cells float32; rows sum to one."""
    places = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    found: Array = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))).astype(np.float32)
    return found
