"""A metric by what it is made of, classes or for a loss layers: the baseline's, and how each engine differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.plots.lanes import NARROW
from visiondeploy.benchmarks.report.plots.names import called
from visiondeploy.benchmarks.report.plots.scene import (
    Area,
    Group,
    Line,
    Role,
    Scene,
    Shape,
    Text,
    fitting,
    rectangle,
    text_width,
)
from visiondeploy.benchmarks.report.schema import Quality, Report

_ROW, _BAR, _HEAD, _GAP = 19.0, 11.0, 24.0, 16.0


@dataclass(frozen=True, slots=True)
class Change:
    """By how much a part differs from the baseline's; None where one of the two has no value."""

    part: str
    value: float | None
    baseline: float | None
    smaller: bool

    @property
    def difference(self) -> float | None:
        """In points of 100; of what is better where it is smaller, in percent of the baseline."""
        if self.value is None or self.baseline is None:
            return None
        if not self.smaller:
            return (self.value - self.baseline) * 100
        return (self.value - self.baseline) / self.baseline * 100 if self.baseline > 0 else None

    @property
    def better(self) -> bool:
        """Whether it gained."""
        return self.difference is not None and (self.difference < 0) is self.smaller

    @property
    def said(self) -> str:
        """The difference in two decimals."""
        if self.difference is None:
            return "–"
        return f"{self.difference:+.2f}".replace("-", "−") if self.difference else "±0.00"


def metrics(report: Report) -> tuple[str, ...]:
    """The metrics that the rows have by part."""
    found = (one for row in report.rows for one in (row.quality, *row.more) if one is not None and one.per_class)
    return tuple(dict.fromkeys(one.metric for one in found))


def of(report: Report, metric: str) -> list[tuple[str, Quality]]:
    """The rows that have the metric by part, by name."""
    return [
        (row.name, one)
        for row in report.rows
        for one in (row.quality, *row.more)
        if one is not None and one.metric == metric and one.per_class
    ]


def changes(quality: Quality) -> list[Change]:
    """A change for each part."""
    return [
        Change(plain(part), found.value, found.baseline, quality.smaller) for part, found in quality.per_class.items()
    ]


def draw(report: Report, metric: str, width: int) -> Scene | None:
    """A panel of bars for the baseline and one for each engine; None where no row has the metric by part."""
    found = of(report, metric)
    if not found:
        return None
    names = called(report)
    first = found[0][1]
    parts = [plain(part) for part in first.per_class]
    unit = "percent" if first.smaller else "points"
    panels = [("baseline", _values(first))] + [
        (names[name], _differences(changes(quality))) for name, quality in found if name != report.baseline.name
    ]
    most = max((abs(bar.length) for _, bars in panels[1:] for bar in bars if bar.length is not None), default=0.0)
    grid = _Grid.of(parts, len(panels), width)
    shapes: list[Shape] = []
    for index, (name, bars) in enumerate(panels):
        left, top = grid.place(index)
        shapes += _names(parts, grid, left, top) if index % grid.across == 0 else []
        scale = max((abs(bar.length) for bar in bars if bar.length is not None), default=0.0) if index == 0 else most
        # Bars that are all short are equal as far as anybody can see, and shown as that.
        shapes += _panel(name, bars, grid, (left, top), scale if index == 0 else max(scale, 0.05), centred=index > 0)
    head = f"left: the baseline's {plain(metric)}{'' if first.smaller else ' in percent'}; others: difference in {unit}"
    # A phone has no room for it, and the caption says it, too.
    shapes = [*([Text(0, 13, head, 12, role="muted")] if width >= NARROW else []), *shapes]
    lines = "; ".join(
        f"{names[name]}: " + ", ".join(f"{change.part} {change.said}" for change in changes(quality))
        for name, quality in found
        if name != report.baseline.name
    )
    alt = f"{plain(metric)} by {plain(first.part)}, difference to the baseline in {unit}. {lines}"
    return Scene(width, grid.height, alt, tuple(shapes))


@dataclass(frozen=True, slots=True)
class _Bar:
    length: float | None
    said: str
    role: Role


def _values(quality: Quality) -> list[_Bar]:
    scale = 1 if quality.smaller else 100
    shown = "{:.4f}" if quality.smaller else "{:.1f}"
    return [
        _Bar(None, "–", "own") if one.value is None else _Bar(one.value * scale, shown.format(one.value * scale), "own")
        for one in quality.per_class.values()
    ]


def _differences(found: Sequence[Change]) -> list[_Bar]:
    return [_Bar(change.difference, change.said, "good" if change.better else "bad") for change in found]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Panels side by side, as many as fit, the names of the parts left of each line of them."""

    names: float
    panel: float
    across: int
    rows: int
    lines: int

    @classmethod
    def of(cls, parts: Sequence[str], panels: int, width: int) -> _Grid:
        names = min(max(text_width(part) for part in parts) + 12, width * 0.32)
        across = max(
            1, min(panels, 2 if width < NARROW else 5, int((width - names) // (95 if width < NARROW else 130)))
        )
        across = -(-panels // -(-panels // across))  # as many in the last line as in the others, nearly
        panel = (width - names - _GAP * (across - 1)) / across
        return cls(names, panel, across, len(parts), -(-panels // across))

    def place(self, index: int) -> tuple[float, float]:
        line, column = divmod(index, self.across)
        return self.names + column * (self.panel + _GAP), 22 + line * self.line_height

    @property
    def line_height(self) -> float:
        return _HEAD + self.rows * _ROW + _GAP

    @property
    def height(self) -> float:
        return 22 + self.lines * self.line_height - _GAP + 4


def _names(parts: Sequence[str], grid: _Grid, left: float, top: float) -> list[Shape]:
    shapes: list[Shape] = []
    for row, part in enumerate(parts):
        y = top + _HEAD + row * _ROW
        if row % 2 == 0:
            shapes.append(Area(rectangle(0, y, left + grid.across * (grid.panel + _GAP) - _GAP, y + _ROW), "band"))
        shapes.append(Text(4, y + 13.5, fitting(part, grid.names - 10), 12))
    return shapes


def _panel(
    name: str, bars: Sequence[_Bar], grid: _Grid, at: tuple[float, float], scale: float, *, centred: bool
) -> list[Shape]:
    left, top = at
    numbers = 46.0
    room = grid.panel - numbers
    zero = left + room / 2 if centred else left
    length = (room / 2 if centred else room) - 2
    shapes: list[Shape] = [Text(left, top + 14, fitting(name, grid.panel, bold=True), 12, bold=True)]
    shapes.append(Line(((zero, top + _HEAD), (zero, top + _HEAD + len(bars) * _ROW)), "muted", 0.8))
    for row, bar in enumerate(bars):
        y = top + _HEAD + row * _ROW
        drawn: list[Shape] = [Text(left + grid.panel, y + 13.5, bar.said, 11.5, "end")]
        if bar.length and scale:
            end = zero + bar.length / scale * length
            drawn.append(Area(rectangle(min(zero, end), y + 4, max(zero, end), y + 4 + _BAR), bar.role))
        shapes.append(Group(f"{name}: {bar.said}", tuple(drawn)))
    return shapes
