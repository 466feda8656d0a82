"""Plots of one lane for each engine under a common axis: where names, lanes and the axis stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.report.plots.scales import Linear, Log, spelt
from visiondeploy.benchmarks.report.plots.scene import Role, Shape, Strokes, Text, fitting, text_width

NARROW = 480
"""Below this width, that of a phone, names stand above their lanes."""

_MOST_OF_NAMES = 0.3
_AXIS = 34.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """Lanes from pixel `left` to `right`, the first one's top at `top`, each `height` high, `gap` apart."""

    names: tuple[str, ...]
    width: float
    left: float
    right: float
    top: float
    height: float
    gap: float
    above: float

    @classmethod
    def of(cls, names: Sequence[str], width: float, height: float, top: float = 8.0, right: float = 0.0) -> Lanes:
        """Lanes of that height; `right` pixels beside them are kept for numbers, on a phone above them."""
        if width < NARROW:
            return cls(tuple(names), width, 10.0, width - 10.0, top, height, 8.0, 18.0)
        names_width = min(max(map(text_width, names), default=0.0) + 14, width * _MOST_OF_NAMES)
        return cls(tuple(names), width, names_width, width - right - 10.0, top, height, 6.0, 0.0)

    @property
    def bottom(self) -> float:
        """Where the last lane ends."""
        return self.top + len(self.names) * (self.height + self.gap + self.above) - self.gap

    @property
    def total(self) -> float:
        """The height of the plot, with its axis."""
        return self.bottom + _AXIS + 6

    def upper(self, index: int) -> float:
        """Where a lane begins."""
        return self.top + index * (self.height + self.gap + self.above) + self.above

    def heading(self, index: int, said: str = "") -> list[Shape]:
        """The name of a lane, and what is said of it in numbers."""
        top, name = self.upper(index), self.names[index]
        if self.above:
            room = self.width - 20 - text_width(said, 11.5) - 12
            parts: list[Shape] = [Text(10, top - 5, fitting(name, room, bold=True), bold=True)]
            return [*parts, Text(self.width - 10, top - 5, said, 11.5, "end", role="muted")] if said else parts
        middle = top + self.height / 2 + 4
        beside: list[Shape] = [Text(0, middle, fitting(name, self.left - 12))]
        return [*beside, Text(self.width, middle, said, 11.5, "end", role="muted")] if said else beside

    def axis(self, scale: Linear | Log, title: str, unit: str = "", *, whole: bool = False) -> list[Shape]:
        """Upright lines behind all lanes, numbers under them (`whole` ones alone), and what they are; put in first."""
        marks = [mark for mark in scale.ticks(5 if self.above else 9) if not whole or float(mark).is_integer()]
        write = spelt(marks)
        shapes = self._upright(tuple(map(scale, marks)), "grid")
        for value in marks:
            shapes.append(Text(scale(value), self.bottom + 18, f"{write(value)}{unit}", 11, "middle", role="muted"))
        shapes.append(Text((self.left + self.right) / 2, self.bottom + 34, title, 11.5, "middle", role="muted"))
        return shapes

    def line(self, x: float) -> list[Shape]:
        """An upright line through all lanes."""
        return self._upright((x,), "muted")

    def _upright(self, xs: tuple[float, ...], role: Role) -> list[Shape]:
        """Upright lines, where names stand above the lanes in these alone."""
        if not self.above:
            return [Strokes(xs, self.top, self.bottom + 4, role)]
        tops = map(self.upper, range(len(self.names)))
        return [Strokes(xs, top, top + self.height + 2, role) for top in tops]
