"""Pictures for a report: input, truth, baseline and engines side by side, labelled, with a legend of the classes.

Text is set in the font that Pillow carries, so that a picture is the same on every machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from visiondeploy.benchmarks.report.files import whole_file
from visiondeploy.errors import UsageError
from visiondeploy.types import Image

Colour = tuple[int, int, int]
Legend = Sequence[tuple[str, Colour]]
"""Names of classes and their colours, as in `Dataset.classes` and `Dataset.palette`."""

PANEL_WIDTH = 320

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (31, 35, 40)
_GREY: Colour = (106, 115, 125)
_EDGE: Colour = (208, 213, 219)

_MARGIN = 24
_GAP = 12
_LABEL_SIZE = 16
_DETAIL_SIZE = 13
_LEGEND_SIZE = 13
_SWATCH = 14
# Predictions have a colour per class. More colours than any palette has are a photograph.
_MOST_CLASSES = 256
# What labels are likely to hold and Pillow's font does not.
_SPELT = str.maketrans({"×": "x", "−": "-", "–": "-", "Δ": "delta ", "≥": ">=", "≤": "<=", "µ": "u", "ß": "ss"})

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def side_by_side(
    columns: Sequence[tuple[str, Image]], *, legend: Legend = (), panel_width: int = PANEL_WIDTH
) -> Pillow.Image:
    """One row of pictures with a label above each, and the legend below; RGB.

    `columns` are labels and H×W×3 uint8 pictures, left to right; a second line in a label is set smaller
    and in grey. Pictures are scaled to `panel_width` pixels. Raises UsageError as `contact_sheet` does.
    """
    return contact_sheet([columns], legend=legend, panel_width=panel_width)


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, Image]]], *, legend: Legend = (), panel_width: int = PANEL_WIDTH
) -> Pillow.Image:
    """Rows of pictures under one line of labels, those of the first row, and the legend below; RGB.

    Each row has the same labels in the same order. Pictures keep their aspect; photographs are scaled
    smoothly, pictures of classes without mixing colours, so that every colour shown is in the legend.

    Raises UsageError where there are no pictures, rows have different labels, or a picture is not H×W×3 uint8.
    """
    labels = _labels(rows)
    panels = [[_panel(picture, panel_width) for _, picture in row] for row in rows]
    width = 2 * _MARGIN + len(labels) * panel_width + (len(labels) - 1) * _GAP
    header = _header_height(labels)
    heights = [max(panel.height for panel in row) for row in panels]
    entries = _flow([(_spelt(name), colour) for name, colour in legend], width - 2 * _MARGIN)
    legend_height = 0
    if entries:
        legend_height = _GAP + max(y for _, y, _, _ in entries) + _LEGEND_SIZE + 6
    height = 2 * _MARGIN + header + sum(heights) + _GAP * (len(heights) - 1) + legend_height
    sheet = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_MARGIN + index * (panel_width + _GAP) for index in range(len(labels))]
    for left, label in zip(lefts, labels, strict=True):
        _draw_label(draw, label, left, panel_width)
    top = _MARGIN + header
    for row, row_height in zip(panels, heights, strict=True):
        for left, panel in zip(lefts, row, strict=True):
            offset = top + (row_height - panel.height) // 2
            sheet.paste(panel, (left, offset))
            # Outside the panel, so that no pixel of it is covered.
            draw.rectangle((left - 1, offset - 1, left + panel_width, offset + panel.height), outline=_EDGE)
        top += row_height + _GAP
    _draw_legend(draw, entries, top)
    return sheet


def save_png(path: Path, image: Pillow.Image) -> None:
    """Write a PNG so that `path` holds the old file or the whole new one, whatever happens meanwhile.

    Raises ResourceError where it cannot be written (no folder, no right, no space).
    """
    with whole_file(path) as stream:
        image.save(stream, format="PNG", optimize=True)


def _labels(rows: Sequence[Sequence[tuple[str, Image]]]) -> list[str]:
    if not rows or not rows[0]:
        raise UsageError("there are no pictures to lay out: give at least one row with one picture.")
    labels = [label for label, _ in rows[0]]
    for row in rows:
        found = [label for label, _ in row]
        if found != labels:
            raise UsageError(f"rows of a sheet share their labels, found {found}, expected {labels}.")
    return labels


def _panel(picture: Image, width: int) -> Pillow.Image:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise UsageError(f"a picture is H×W×3 uint8, found {picture.dtype} of shape {picture.shape}.")
    image = Pillow.fromarray(picture)
    height = max(1, round(image.height * width / image.width))
    of_classes = image.getcolors(_MOST_CLASSES) is not None
    method = Pillow.Resampling.NEAREST if of_classes else Pillow.Resampling.LANCZOS
    return image.resize((width, height), method)


def _spelt(text: str) -> str:
    """The text in letters that the font has: without accents, signs written out."""
    parts = unicodedata.normalize("NFKD", text.translate(_SPELT))
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _header_height(labels: Sequence[str]) -> int:
    lines = max(label.count("\n") for label in labels)
    return _LABEL_SIZE + 10 + lines * (_DETAIL_SIZE + 5)


def _draw_label(draw: ImageDraw.ImageDraw, label: str, left: int, width: int) -> None:
    top = _MARGIN
    for index, line in enumerate(_spelt(label).split("\n")):
        size, colour = (_DETAIL_SIZE, _GREY) if index else (_LABEL_SIZE, _INK)
        font = _font(size)
        draw.text((left, top), _fitting(line, font, width), fill=colour, font=font)
        top += size + 5


def _fitting(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _flow(legend: Legend, width: int) -> list[tuple[int, int, str, Colour]]:
    """Left, top, name and colour of each entry, in columns of equal width, within `width` pixels."""
    if not legend:
        return []
    font = _font(_LEGEND_SIZE)
    cell = min(width, round(max(font.getlength(name) for name, _ in legend)) + _SWATCH + 28)
    across = max(1, width // cell)
    return [
        ((index % across) * cell, (index // across) * (_LEGEND_SIZE + 10), name, colour)
        for index, (name, colour) in enumerate(legend)
    ]


def _draw_legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[int, int, str, Colour]], top: int) -> None:
    font = _font(_LEGEND_SIZE)
    for x, y, name, colour in entries:
        left, upper = _MARGIN + x, top + y
        draw.rectangle((left, upper, left + _SWATCH, upper + _SWATCH), fill=colour, outline=_EDGE)
        draw.text((left + _SWATCH + 8, upper + _SWATCH / 2), name, fill=_INK, font=font, anchor="lm")
