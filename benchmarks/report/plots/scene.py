"""What a plot is made of, in pixels from the top left corner: lines, areas, discs and text, in roles, not colours.

One scene is the source of all that is made of it: inline SVG that follows the page into the dark (`svg.py`), an SVG
file, and a PNG (`png.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]

Role = Literal[
    "ink", "muted", "grid", "paper", "band", "good", "bad", "own", "one", "two", "three", "four", "five", "six"
]
"""What a shape is for, of which its colour follows. "own" is the baseline, "one" to "six" tell others apart."""

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, in a width in pixels."""

    points: tuple[Point, ...]
    role: Role
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Strokes:
    """Many upright lines from `top` to `bottom`, as one shape."""

    xs: tuple[float, ...]
    top: float
    bottom: float
    role: Role
    width: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Area:
    """A polygon, filled; with an outline where `outline` names its role."""

    points: tuple[Point, ...]
    role: Role
    opacity: float = 1.0
    outline: Role | None = None
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle, filled; with an outline where `outline` names its role."""

    x: float
    y: float
    radius: float
    role: Role
    opacity: float = 1.0
    outline: Role | None = None
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text on its base line."""

    x: float
    y: float
    text: str
    size: float = 12.0
    anchor: Anchor = "start"
    bold: bool = False
    role: Role = "ink"


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that belong together; `title` is what a pointer that rests on them is told."""

    title: str
    shapes: tuple[Shape, ...]


Shape = Line | Strokes | Area | Disc | Text | Group


@dataclass(frozen=True, slots=True)
class Scene:
    """A plot; `alt` says in words what it shows."""

    width: float
    height: float
    alt: str
    shapes: tuple[Shape, ...]


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    """The corners of a rectangle."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


# Advance widths of Helvetica in em, by what letters look like: those of common sans-serifs are within a tenth.
_WIDTHS = (
    dict.fromkeys("ijlI|!'.,:;", 0.24)
    | dict.fromkeys("tfr()[]/- ", 0.31)
    | dict.fromkeys("mwMW%@—→", 0.86)
    | dict.fromkeys("ABCDEFGHKNOPQRSTUVXYZ&", 0.69)
    | dict.fromkeys("+−=<>≥≤×±~_", 0.59)
)
_USUAL = 0.555
_ROOM = 1.06
"""Of the font that is there in the end nothing is known."""


def text_width(text: str, size: float = 12.0, *, bold: bool = False) -> float:
    """About how wide a text is in pixels, rather more than less."""
    return sum(_WIDTHS.get(letter, _USUAL) for letter in text) * size * _ROOM * (1.06 if bold else 1.0)


def fitting(text: str, width: float, size: float = 12.0, *, bold: bool = False) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    if text_width(text, size, bold=bold) <= width:
        return text
    kept = text
    while kept and text_width(f"{kept}…", size, bold=bold) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


Marker = Literal["disc", "square", "diamond", "triangle", "upside", "pentagon"]

_CORNERS: dict[Marker, tuple[int, float, float]] = {
    "square": (4, 45, 1.25),
    "diamond": (4, 0, 1.3),
    "triangle": (3, -90, 1.4),
    "upside": (3, 90, 1.4),
    "pentagon": (5, -90, 1.2),
}
"""How many corners, in which direction the first one, and how far off for the area of the disc, nearly."""


def marker(kind: Marker, at: Point, radius: float, role: Role, outline: Role = "paper", opacity: float = 1.0) -> Shape:
    """A marker of the area of a disc with that radius."""
    x, y = at
    if kind == "disc":
        return Disc(x, y, radius, role, opacity, outline)
    count, first, scale = _CORNERS[kind]
    angles = [math.radians(first + 360 * corner / count) for corner in range(count)]
    corners = tuple((x + radius * scale * math.cos(a), y + radius * scale * math.sin(a)) for a in angles)
    return Area(corners, role, opacity, outline)


def legend(
    entries: Sequence[tuple[str, Marker, Role]], left: float, top: float, width: float
) -> tuple[tuple[Shape, ...], float]:
    """Markers and what they stand for, in lines within `width`; and how high that is."""
    shapes: list[Shape] = []
    x, y = left, top + 14
    for said, kind, role in entries:
        room = 16 + text_width(said) + 16
        if x > left and x + room - 16 > left + width:
            x, y = left, y + 20
        shapes += [marker(kind, (x + 6, y - 4), 5, role), Text(x + 16, y, said, role="muted")]
        x += room
    return tuple(shapes), (y + 8 - top if entries else 0.0)
