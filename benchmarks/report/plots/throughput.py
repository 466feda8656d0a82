"""What engines do under load: images a second over the batch or the callers, latency over the rate that arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.report.cells import number
from visiondeploy.benchmarks.report.measured import Load, Scenario
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


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is drawn of a scenario: over what, and what of it."""

    over: str
    at: Callable[[Load], float | None]
    what: str
    value: Callable[[Scenario, Load], float | None]


def _latency(scenario: Scenario, load: Load) -> float | None:
    """The latency that the bound is for."""
    found, quantile = load.latency_ms, scenario.quantile
    if found is None or quantile is None:
        return None
    return {0.5: found.p50, 0.9: found.p90, 0.99: found.p99}.get(quantile)


def _throughput(scenario: Scenario, load: Load) -> float | None:
    return load.per_second


_RATE = "images in a second, log scale; up is better"
_KINDS = {
    "offline": _Kind("batch, log scale", lambda load: load.batch, _RATE, _throughput),
    "multi-stream": _Kind("callers at the same time, log scale", lambda load: load.streams, _RATE, _throughput),
    "server": _Kind(
        "queries that arrive in a second, log scale",
        lambda load: load.rate,
        "ms at the bound's percentile; hollow: not held",
        _latency,
    ),
}
SCENARIOS = tuple(_KINDS)
"""Those with a number that is varied."""


@dataclass(frozen=True, slots=True)
class _Point:
    """One load: where, how much, the interval of that, and whether its bound was held."""

    at: float
    value: float
    bounds: tuple[float, float] | None
    held: bool


def draw(report: Report, scenario: str, width: int) -> Scene | None:
    """A line for each row that was run in the scenario; None without any, or where there is but one load."""
    kind = _KINDS[scenario]
    found = [(row, _points(one, kind)) for row in report.rows for one in row.scenarios if one.name == scenario]
    lines = [(row, points) for row, points in found if points]
    if not any(len(points) > 1 for _, points in lines):
        return None
    names = called(report)
    keys, high = legend(backends([row for row, _ in lines], report), 0, 22, width)
    top, bottom = 22 + high + 10, 22 + high + 10 + (200 if width < NARROW else 240)
    names_width = min(max(text_width(names[row.name]) for row, _ in lines) + 20, width * 0.34)
    every = [point for _, points in lines for point in points]
    values = [one for point in every for one in (point.value, *(point.bounds or ())) if one > 0]
    y = Log(*log_span(values, 0.1, least=1.5), bottom, top)
    left = max(text_width(f"{value:g}", 11) for value in y.ticks(6)) + 8
    x = Log(*log_span([point.at for point in every], 0.04, least=1.5), left, width - names_width)
    shapes = [Text(0, 14, fitting(kind.what, width), 12, role="muted"), *keys]
    shapes += _axes(x, y, kind.over, sorted({point.at for point in every}))
    ends: list[tuple[float, str]] = []
    for row, points in lines:
        shapes += _line(points, x, y, look(row, report), names[row.name])
        ends.append((y(points[-1].value), names[row.name]))
    for at, name in _apart(ends):
        shapes.append(Text(width - names_width + 8, at + 4, fitting(name, names_width - 8), 12))
    said = "; ".join(
        f"{names[row.name]} " + ", ".join(f"{number(point.value)} at {point.at:.4g}" for point in points)
        for row, points in lines
    )
    return Scene(width, bottom + 42, f"{scenario}: {kind.what}. {said}.", tuple(shapes))


def _points(scenario: Scenario, kind: _Kind) -> list[_Point]:
    found = [(kind.at(load), kind.value(scenario, load), load) for load in scenario.loads]
    points = [
        _Point(at, value, load.ci95 if kind.value is _throughput else None, load.held is not False)
        for at, value, load in found
        if at is not None and value is not None
    ]
    return sorted(points, key=lambda point: point.at)


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
    shapes: list[Shape] = [Line(tuple((x(point.at), y(point.value)) for point in points), role, 1.6)]
    for point in points:
        fill: Role = role if point.held else "paper"
        edge: Role = "paper" if point.held else role
        parts: list[Shape] = [marker(kind, (x(point.at), y(point.value)), 4, fill, edge)]
        if point.bounds is not None and point.bounds[0] > 0:
            low, high = point.bounds
            parts.insert(0, Line(((x(point.at), y(low)), (x(point.at), y(high))), role, 1.3))
        shapes.append(Group(f"{name}: {number(point.value)} at {point.at:.4g}", tuple(parts)))
    return shapes


def _apart(ends: Sequence[tuple[float, str]], least: float = 15.0) -> list[tuple[float, str]]:
    """The same, from the top down, moved until they are that many pixels apart."""
    found: list[tuple[float, str]] = []
    for at, name in sorted(ends):
        found.append((max(at, found[-1][0] + least) if found else at, name))
    return found
