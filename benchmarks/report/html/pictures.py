"""Pictures that a page carries within itself: as small as a screen needs, and all of them within a budget."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Annotated

from PIL import Image as Pillow
from pydantic import Field, NonNegativeInt

from visiondeploy.benchmarks.report.parts import Part
from visiondeploy.benchmarks.report.pictures import Legend
from visiondeploy.types import Image

MOST_IMAGES = 6
WIDEST = 640
"""Pixels."""
BUDGET = 5_000_000
"""Bytes of all pictures of a page, which base64 makes a third larger."""

_MOST_COLOURS = 256
"""Pictures of classes have no more; of more than this a picture is a photograph."""


class Picture(Part):
    """A picture as an address that holds it."""

    label: str
    address: Annotated[str, Field(pattern=r"^data:image/(png|jpeg);base64,[A-Za-z0-9+/=]*$")]
    width: NonNegativeInt
    height: NonNegativeInt


class Album(Part):
    """Rows of labelled pictures, one row an image and all with the same labels; `legend` has colours by name.

    `left_out` is how many images more there were than the budget has room for.
    """

    images: tuple[tuple[Picture, ...], ...] = ()
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    left_out: NonNegativeInt = 0


def album(rows: Sequence[Sequence[tuple[str, Image]]], legend: Legend = ()) -> Album:
    """Of labelled pictures, H×W×3 uint8, the first images within `BUDGET`, `MOST_IMAGES` at most.

    They are made smaller where not one image is within it.
    """
    for width in (WIDEST, WIDEST // 2, WIDEST // 4):
        kept: list[tuple[Picture, ...]] = []
        spent = 0
        for row in rows[:MOST_IMAGES]:
            made = tuple(_picture(label, image, width) for label, image in row)
            spent += sum(len(picture.address) * 3 // 4 for picture in made)
            if spent > BUDGET:
                break
            kept.append(made)
        if kept:
            break
    return Album(images=tuple(kept), legend=tuple(legend), left_out=len(rows) - len(kept))


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
    return Picture(label=label, address=address, width=picture.width, height=picture.height)
