"""Pictures whose content and style can be told from each other by a random network."""

from __future__ import annotations

import numpy as np

from visiondeploy.types import Image


def photograph(height: int = 64, width: int = 96) -> Image:
    """A bright disc on a dark slope."""
    rows, columns = np.mgrid[:height, :width]
    slope = 40 + 60 * columns / width
    disc = (rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (height / 4) ** 2
    grey = np.where(disc, 220, slope)
    return np.stack([grey, 0.8 * grey, 0.6 * grey], axis=-1).astype(np.uint8)


def painting(height: int = 80, width: int = 64) -> Image:
    """Slanted strokes in blue and yellow."""
    rows, columns = np.mgrid[:height, :width]
    colours = np.array([[30, 60, 160], [240, 210, 60], [90, 130, 210]], dtype=np.uint8)
    strokes: Image = colours[(rows + 2 * columns) // 4 % 3]
    return strokes
