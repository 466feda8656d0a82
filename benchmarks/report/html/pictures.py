"""Pictures that a page carries within itself: as small as a screen needs, and all of them within a budget."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image as Pillow

from visiondeploy.benchmarks.report.pictures import Legend
from visiondeploy.types import Image

MOST_IMAGES = 6
WIDEST = 640
"""Pixels."""
BUDGET = 5_000_000
"""Bytes of all pictures of a page, which base64 makes a third larger."""

_MOST_COLOURS = 256
"""Pictures of classes have no more; of more than this a picture is a photograph."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Rows of labelled pictures, H×W×3 uint8, one row an image and all with the same labels; and colours by name."""

    rows: Sequence[Sequence[tuple[str, Image]]] = ()
    legend: Legend = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as an address that holds it."""

    label: str
    address: str
    width: int
    height: int


def embedded(shown: Shown) -> list[list[Picture]]:
    """The first images whose pictures are within `BUDGET`, `MOST_IMAGES` at most; smaller where not one is."""
    for width in (WIDEST, WIDEST // 2, WIDEST // 4):
        kept: list[list[Picture]] = []
        spent = 0
        for row in shown.rows[:MOST_IMAGES]:
            made = [_picture(label, image, width) for label, image in row]
            spent += sum(len(picture.address) * 3 // 4 for picture in made)
            if spent > BUDGET:
                break
            kept.append(made)
        if kept:
            return kept
    return []


def _picture(label: str, image: Image, widest: int) -> Picture:
    picture = Pillow.fromarray(image)
    of_classes = picture.getcolors(_MOST_COLOURS) is not None
    if picture.width > widest:
        height = max(1, round(picture.height * widest / picture.width))
        # Of classes no colours are mixed, so that each is one of the legend's.
        method = Pillow.Resampling.NEAREST if of_classes else Pillow.Resampling.LANCZOS
        picture = picture.resize((widest, height), method)
    stream = BytesIO()
    if of_classes:
        picture.quantize(_MOST_COLOURS, dither=Pillow.Dither.NONE).save(stream, format="PNG", optimize=True)
    else:
        picture.save(stream, format="JPEG", quality=88, optimize=True)
    kind = "png" if of_classes else "jpeg"
    address = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(label, address, picture.width, picture.height)
