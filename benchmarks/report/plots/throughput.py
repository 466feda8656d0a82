"""How many images a second: over the batch (offline), the callers (multi-stream), or the rate that arrives (server)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from visiondeploy.benchmarks.report.cells import number
from visiondeploy.benchmarks.report.measured import Load
from visiondeploy.benchmarks.report.plots.lanes import NARROW
from visiondeploy.benchmarks.report.plots.names import backends, called, look
from visiondeploy.benchmarks.report.plots.scales import Log, log_span
from visiondeploy.benchmarks.report.plots.scene import (
    Group,
    Line,
    Marker,
    Role,
    Scene,
    Shape,
    Strokes,
    Text,
    fitting,
    legend,
    marker,
    text_width,
)
from visiondeploy.benchmarks.report.schema import Report

_AXES: dict[str, tuple[str, Callable[[Load], float | None]]] = {
    "offline": ("batch, log scale", lambda load: load.batch),
    "multi-stream": ("callers at the same time, log scale", lambda load: load.streams),
    "server": ("queries that arrive in a second, log scale", lambda load: load.rate),
}


SCENARIOS = tuple(_AXES)
"""Those with a number that is varied."""


def draw(report: Report, scenario: str, width: int) -> Scene | None:
    """A line for each row that was run in the scenario; None without any, or where there is but one load."""
    title, over = _AXES[scenario]
    rows = [row for row in report.rows for one in row.scenarios if one.name == scenario]
    found = [(row, _points(one.loads, over)) for row in rows for one in row.scenarios if one.name == scenario]
    lines = [(row, points) for row, points in found if points]
    if not any(len(points) > 1 for _, points in lines):
        return None
    names = called(report)
    keys, high = legend(backends([row for row, _ in lines], report), 0, 22, width)
    top, bottom = 22 + high + 10, 22 + high + 10 + (200 if width < NARROW else 240)
    names_width = min(max(text_width(names[row.name]) for row, _ in lines) + 12, width * 0.32)
    values = [one for _, points in lines for _, value, bounds in points for one in (value, *(bounds or ()))]
    y = Log(*log_span(values, 0.1, least=1.5), bottom, top)
    left = max(text_width(f"{value:g}", 11) for value in y.ticks(6)) + 8
    x = Log(*log_span([at for _, points in lines for at, *_ in points], 0.04, least=1.5), left, width - names_width)
    shapes = [Text(0, 14, "images in a second, log scale; up is better", 12, role="muted"), *keys]
    shapes += _axes(x, y, title, sorted({at for _, points in lines for at, *_ in points}))
    ends: list[tuple[float, str]] = []
    for row, points in lines:
        shapes += _line(points, x, y, look(row, report), names[row.name])
        ends.append((y(points[-1][1]), names[row.name]))
    for at, name in _apart(ends):
        shapes.append(Text(width - names_width + 8, at + 4, fitting(name, names_width - 8), 12))
    said = "; ".join(
        f"{names[row.name]} " + ", ".join(f"{number(value)} at {at:g}" for at, value, _ in points)
        for row, points in lines
    )
    return Scene(width, bottom + 42, f"{scenario}: images in a second. {said}.", tuple(shapes))


_Point = tuple[float, float, tuple[float, float] | None]


def _points(loads: Sequence[Load], over: Callable[[Load], float | None]) -> list[_Point]:
    found = [(over(load), load.per_second, load.ci95) for load in loads]
    return sorted((at, value, bounds) for at, value, bounds in found if at is not None and value is not None)


def _axes(x: Log, y: Log, title: str, loads: Sequence[float]) -> list[Shape]:
    shapes: list[Shape] = []
    for value in y.ticks(6):
        shapes.append(Line(((x.start, y(value)), (x.end, y(value))), "grid"))
        shapes.append(Text(x.start - 6, y(value) + 4, f"{value:g}", 11, "end", role="muted"))
    marks = loads if len(loads) <= 8 else x.ticks(7)
    shapes.append(Strokes(tuple(map(x, marks)), y.end, y.start, "grid"))
    shapes += [Text(x(value), y.start + 16, f"{value:.4g}", 11, "middle", role="muted") for value in marks]
    return [*shapes, Text(x.start, y.start + 36, title, 11.5, role="muted")]


def _line(points: Sequence[_Point], x: Log, y: Log, looks: tuple[Marker, Role], name: str) -> list[Shape]:
    kind, role = looks
    shapes: list[Shape] = [Line(tuple((x(at), y(value)) for at, value, _ in points), role, 1.6)]
    for at, value, bounds in points:
        parts: list[Shape] = [marker(kind, (x(at), y(value)), 4, role)]
        if bounds is not None and bounds[0] > 0:
            parts.insert(0, Line(((x(at), y(bounds[0])), (x(at), y(bounds[1]))), role, 1.3))
        shapes.append(Group(f"{name}: {number(value)} images in a second at {at:g}", tuple(parts)))
    return shapes


def _apart(ends: Sequence[tuple[float, str]], least: float = 15.0) -> list[tuple[float, str]]:
    """The same, from the top down, moved until they are that many pixels apart."""
    found: list[tuple[float, str]] = []
    for at, name in sorted(ends):
        found.append((max(at, found[-1][0] + least) if found else at, name))
    return found
