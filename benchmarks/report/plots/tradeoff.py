"""What is gained for what is lost: the metric over latency, a point for each engine, or for each compressed network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from visiondeploy.benchmarks.report import pareto
from visiondeploy.benchmarks.report.cells import number, plain, size
from visiondeploy.benchmarks.report.compression import Compression
from visiondeploy.benchmarks.report.labels import Box, choose_places
from visiondeploy.benchmarks.report.plots.lanes import NARROW
from visiondeploy.benchmarks.report.plots.names import backends, called, look
from visiondeploy.benchmarks.report.plots.scales import Linear, Log, log_span, span, spelt
from visiondeploy.benchmarks.report.plots.scene import (
    Anchor,
    Area,
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
    rectangle,
    text_width,
)
from visiondeploy.benchmarks.report.schema import Quality, Report, Row
from visiondeploy.errors import UsageError
from visiondeploy.types import Status

_LARGEST, _SMALLEST = 15.0, 4.5
"""Radii of the largest point, and of the smallest that is drawn."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A point: what it is, where, and how it looks. `amount` is what its area stands for, of the largest one."""

    name: str
    detail: str
    milliseconds: float
    value: float
    interval: tuple[float, float] | None
    amount: float
    kind: Marker
    role: Role
    bold: bool = False


def engines(report: Report, width: int) -> Scene | None:
    """Quality over latency of all rows that have both; None where fewer than two have."""
    rows = [row for row in report.rows if _quality(row) and _p50(row)]
    if len(rows) < 2:
        return None
    largest = max(row.size_bytes or 0 for row in rows) or 1
    names = called(report)
    marks = [_engine(row, report, names[row.name], largest) for row in rows]
    entries = backends(rows, report)
    return _scene(marks, entries, report, width, "area: size of the engine")


def variants(report: Report, width: int) -> Scene | None:
    """The same of compressed networks, whose area is their parameters; None where there are not two with both."""
    try:
        points = pareto.points(report)
    except UsageError:
        return None
    compression = report.compression
    if len(points) < 2 or compression is None:
        return None
    largest = max(point.parameters or 0 for point in points) or 1
    marks = [_variant(point, largest) for point in points]
    entries: list[tuple[str, Marker, Role]] = [("network that was tried", "disc", "one"), ("chosen", "square", "two")]
    return _scene(marks, entries, report, width, _engine_of(compression))


def _engine_of(compression: Compression) -> str:
    engine = " ".join(part for part in (compression.backend, compression.precision) if part)
    return f"in {plain(engine)}; area: parameters"


def _quality(row: Row) -> Quality | None:
    return row.quality if row.status is Status.OK else None


def _p50(row: Row) -> float | None:
    return row.latency_ms.p50 if row.latency_ms is not None else None


def _engine(row: Row, report: Report, name: str, largest: int) -> _Mark:
    quality, p50 = row.quality, row.latency_ms.p50 if row.latency_ms else None
    if quality is None or p50 is None:
        raise UsageError(f"row {row.name} has no metric or no latency to be drawn at.")
    interval = None
    if quality.ci95 is not None and row is not report.baseline:
        interval = (quality.baseline + quality.ci95[0], quality.baseline + quality.ci95[1])
    detail = f"{number(p50)} ms"
    if row.size_bytes is not None:
        detail += f" · {size(row.size_bytes)}"
    kind, role = look(row, report)
    amount = (row.size_bytes or 0) / largest
    return _Mark(name, detail, p50, quality.value, interval, amount, kind, role, row is report.baseline)


def _variant(point: pareto.Point, largest: int) -> _Mark:
    kind: Marker = "square" if point.chosen else "disc"
    return _Mark(
        point.name,
        f"{number(point.milliseconds)} ms",
        point.milliseconds,
        point.quality,
        point.interval,
        (point.parameters or 0) / largest,
        kind,
        "two" if point.chosen else "one",
        point.chosen,
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """The rectangle in which points stand, and their scales."""

    left: float
    top: float
    right: float
    bottom: float
    x: Log
    y: Linear

    def at(self, milliseconds: float, value: float) -> tuple[float, float]:
        return self.x(milliseconds), self.y(value)


def _scene(
    marks: Sequence[_Mark], entries: Sequence[tuple[str, Marker, Role]], report: Report, width: int, area: str
) -> Scene:
    quality = next(row.quality for row in report.rows if row.quality is not None)
    metric, narrow = plain(quality.metric), width < NARROW
    keys, high = legend(entries, 0, 22, width)
    frame = _frame(marks, width, 22 + high + 6, 300 if narrow else 360, smaller=quality.smaller)
    images = f"{quality.n} image{'s' if quality.n > 1 else ''}"
    head = f"{metric} on {images}; {'less' if quality.smaller else 'more'} is better, and further up"
    best = pareto.front([(mark.milliseconds, -mark.value if quality.smaller else mark.value) for mark in marks])
    steps = _steps([(marks[index].milliseconds, marks[index].value) for index in best])
    largest = _LARGEST * (0.7 if narrow else 1)
    radii = [max(_SMALLEST, largest * mark.amount**0.5) for mark in marks]
    shapes: list[Shape] = [
        Text(0, 14, head, 12, role="muted"),
        *keys,
        *_axes(frame, narrow=narrow, area=area),
        *(Line((frame.at(*start), frame.at(*end)), "good", 3, opacity=0.28) for start, end in steps),
        *(_bar(frame, mark) for mark in marks if mark.interval is not None),
    ]
    bottom = frame.bottom + 44
    if narrow:
        # A phone has no room for names among the points.
        numbered = [replace(mark, name=str(number), detail="") for number, mark in enumerate(marks, start=1)]
        shapes += _labels(frame, numbered, radii, steps)
        shapes += _key(marks, bottom, width)
        bottom += 20 * len(marks) + 4
    else:
        shapes += _labels(frame, marks, radii, steps)
    # Small ones last, so that none is hidden.
    for mark, radius in sorted(zip(marks, radii, strict=True), key=lambda pair: -pair[1]):
        shape = marker(mark.kind, frame.at(mark.milliseconds, mark.value), radius, mark.role, opacity=0.9)
        shapes.append(Group(f"{mark.name}: {metric} {mark.value:.4f}, {mark.detail}", (shape,)))
    said = "; ".join(f"{mark.name} {mark.value:.4f} at {mark.detail}" for mark in marks)
    return Scene(width, bottom, f"{metric} over p50 latency. {said}.", tuple(shapes))


def _key(marks: Sequence[_Mark], top: float, width: int) -> list[Shape]:
    """What the numbers beside the points stand for."""
    shapes: list[Shape] = []
    for number_of, mark in enumerate(marks, start=1):
        y = top + 20 * number_of - 4
        room = width - 44 - text_width(mark.detail, 11) - 8
        shapes.append(Text(14, y, str(number_of), 12, "end", bold=True))
        shapes.append(marker(mark.kind, (27, y - 4), 5, mark.role))
        shapes.append(Text(40, y, fitting(mark.name, room, bold=mark.bold), 12, bold=mark.bold))
        shapes.append(Text(width, y, mark.detail, 11, "end", role="muted"))
    return shapes


def _frame(marks: Sequence[_Mark], width: int, top: float, height: float, *, smaller: bool) -> _Frame:
    values = [value for mark in marks for value in (mark.value, *(mark.interval or ()))]
    low, high = span(values, room=0.16)
    first, last = log_span([mark.milliseconds for mark in marks], room=0.14, least=1.6)
    right, bottom = width - 4.0, top + height
    # Better is further up, for losses too.
    limits = (high, low) if smaller else (low, high)
    y = Linear(*limits, bottom, top)
    write = spelt(y.ticks(6))
    left = max(text_width(write(value), 11) for value in y.ticks(6)) + 8
    return _Frame(left, top, right, bottom, Log(first, last, left, right), y)


def _axes(frame: _Frame, *, narrow: bool, area: str) -> list[Shape]:
    shapes: list[Shape] = []
    marks = frame.y.ticks(6)
    write = spelt(marks)
    for value in marks:
        y = frame.y(value)
        shapes.append(Line(((frame.left, y), (frame.right, y)), "grid"))
        shapes.append(Text(frame.left - 6, y + 4, write(value), 11, "end", role="muted"))
    times = frame.x.ticks(5 if narrow else 9)
    shapes.append(Strokes(tuple(map(frame.x, times)), frame.top, frame.bottom, "grid"))
    shapes.append(Line(((frame.left, frame.bottom), (frame.right, frame.bottom)), "muted"))
    # A number at the very edge would be cut.
    inside = [value for value in times if frame.x(value) + text_width(f"{value:g}", 11) / 2 <= frame.right + 4]
    shapes += [Text(frame.x(value), frame.bottom + 16, f"{value:g}", 11, "middle", role="muted") for value in inside]
    title = "ms, p50, log scale" if narrow else "latency of one inference, p50 in ms, log scale; left is faster"
    shapes.append(Text(frame.left, frame.bottom + 36, title, 11.5, role="muted"))
    shapes.append(Text(frame.right, frame.bottom + 36, area, 11.5, "end", role="muted"))
    return shapes


_Segment = tuple[tuple[float, float], tuple[float, float]]


def _steps(best: Sequence[tuple[float, float]]) -> list[_Segment]:
    """A staircase: between two networks there is none."""
    return [
        step
        for start, end in pairwise(best)
        for step in ((start, (end[0], start[1])), ((end[0], start[1]), end))
        if step[0] != step[1]
    ]


def _bar(frame: _Frame, mark: _Mark) -> Group:
    low, high = mark.interval or (mark.value, mark.value)
    x, top, bottom = frame.x(mark.milliseconds), *sorted((frame.y(low), frame.y(high)))
    caps = [Line(((x - 4, y), (x + 4, y)), mark.role, 1.3) for y in (top, bottom)]
    return Group("95 % CI of the difference to the baseline", (Line(((x, top), (x, bottom)), mark.role, 1.3), *caps))


def _labels(frame: _Frame, marks: Sequence[_Mark], radii: Sequence[float], steps: Sequence[_Segment]) -> list[Shape]:
    anchors = [frame.at(mark.milliseconds, mark.value) for mark in marks]
    sizes = [
        (max(text_width(mark.name, bold=True), text_width(mark.detail, 11)) + 4, 29.0 if mark.detail else 15.0)
        for mark in marks
    ]
    bars = [
        ((mark.milliseconds, mark.interval[0]), (mark.milliseconds, mark.interval[1]))
        for mark in marks
        if mark.interval
    ]
    taken = [_around(frame.at(*start), frame.at(*end)) for start, end in (*steps, *bars)]
    within = (frame.left, frame.top, frame.right, frame.bottom)
    places = choose_places(anchors, [radius * 1.1 for radius in radii], sizes, taken, within)
    shapes: list[Shape] = []
    for mark, anchor, place, size_of, radius in zip(marks, anchors, places, sizes, radii, strict=True):
        shapes += _label(mark, anchor, place, size_of, radius)
    return shapes


def _label(
    mark: _Mark, anchor: tuple[float, float], place: tuple[float, float], extent: tuple[float, float], radius: float
) -> list[Shape]:
    """A name with its numbers, centred there on paper of its own; with a line to its point where that is far."""
    (x, y), (half, high) = place, (extent[0] / 2, extent[1] / 2)
    shapes: list[Shape] = [Area(rectangle(x - half, y - high, x + half, y + high), "paper", 0.8)]
    near = (min(max(anchor[0], x - half), x + half), min(max(anchor[1], y - high), y + high))
    if math.dist(near, anchor) > radius + 12:
        shapes.append(Line((anchor, near), "muted", 0.7))
    side: Anchor = "middle" if abs(x - anchor[0]) <= half else ("start" if x > anchor[0] else "end")
    at = {"middle": x, "start": x - half + 2, "end": x + half - 2}[side]
    bold = mark.bold or not mark.detail
    shapes.append(Text(at, y + (-2 if mark.detail else 4), mark.name, 12, side, bold=bold))
    return [*shapes, Text(at, y + 11.5, mark.detail, 11, side, role="muted")] if mark.detail else shapes


def _around(start: tuple[float, float], end: tuple[float, float], room: float = 3) -> Box:
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(start, end, strict=True))
    return left - room, top - room, right + room, bottom + room
