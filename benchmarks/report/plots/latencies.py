"""Every timed run of every engine: how its times are spread around its own median, and its percentiles."""

from __future__ import annotations

import numpy as np

from visiondeploy.benchmarks.report.cells import NOTHING, number
from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.report.plots.lanes import Lanes
from visiondeploy.benchmarks.report.plots.names import called, look
from visiondeploy.benchmarks.report.plots.scales import Log, log_span
from visiondeploy.benchmarks.report.plots.scene import Area, Group, Line, Role, Scene, Shape, Strokes, Text
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.types import Array

_HEIGHT = 46.0
_RUG = 9.0
"""Pixels of a lane, and of its lower part, in which every run has a line of its own."""

_PLACES = 181


def draw(report: Report, width: int) -> Scene | None:
    """A lane for each row whose runs were kept: their density, every run, and the percentiles; None without any."""
    rows = [(row, row.latency_ms) for row in report.rows if row.latency_ms is not None and row.latency_ms.raw]
    if not rows:
        return None
    names = called(report)
    lanes = Lanes.of([names[row.name] for row, _ in rows], width, _HEIGHT, right=150)
    ratios = [np.asarray(latency.raw) / np.median(latency.raw) for _, latency in rows]
    low, high = log_span([float(one) for found in ratios for one in (found.min(), found.max())], 0.04, least=1.3)
    scale = Log(low, high, lanes.left, lanes.right)
    shapes = lanes.axis(scale, "run over the engine's own median, log scale", "×")
    for index, ((row, latency), found) in enumerate(zip(rows, ratios, strict=True)):
        shapes += lanes.heading(index, _said(latency))
        shapes += _lane(found, latency, scale, lanes.upper(index), look(row, report)[1])
    said = "; ".join(f"{names[row.name]} {_said(latency)}, {latency.n} runs" for row, latency in rows)
    return Scene(width, lanes.total, f"Distribution of latencies: p50, p90, p99 in ms. {said}.", tuple(shapes))


def _said(latency: Latency) -> str:
    shown = (NOTHING if value is None else number(value) for value in (latency.p50, latency.p90, latency.p99))
    return " / ".join(shown) + " ms"


def _lane(found: Array, latency: Latency, scale: Log, top: float, role: Role) -> list[Shape]:
    floor = top + _HEIGHT - _RUG - 3
    shapes: list[Shape] = [Line(((scale.start, floor), (scale.end, floor)), "grid")]
    if np.ptp(found) > 0:
        places, density = _density(np.log(found), np.log(scale.low), np.log(scale.high))
        curve = [
            (scale(float(np.exp(x))), floor - float(y) * (floor - top - 3))
            for x, y in zip(places, density, strict=True)
        ]
        shapes.append(Area(((curve[0][0], floor), *curve, (curve[-1][0], floor)), role, 0.3))
        shapes.append(Line(tuple(curve), role, 1.4))
    runs = tuple(scale(float(value)) for value in np.unique(found))
    shapes.append(Strokes(runs, floor + 3, floor + 3 + _RUG, role, 1, 0.5))
    median = float(np.median(latency.raw))
    for label, value in (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99)):
        # One that lies outside all runs is of another definition than this axis can show.
        if value is not None and scale.low <= value / median <= scale.high:
            x = scale(value / median)
            mark = Line(((x, floor - 6), (x, floor + 3 + _RUG)), "ink", 1.6)
            shapes.append(Group(f"{label}: {number(value)} ms", (mark,)))
            if label != "p50":
                shapes.append(Text(x + 3, floor - 3, label, 10, role="muted"))
    return shapes


def _density(values: Array, low: float, high: float) -> tuple[Array, Array]:
    """Where, and the density there, 1 at its highest: Gaussian kernels of a width after Silverman (1986)."""
    places = np.linspace(max(low, values.min() - 0.02), min(high, values.max() + 0.02), _PLACES)
    quartiles = np.subtract(*np.percentile(values, [75, 25]))
    spread = min(float(values.std()), float(quartiles) / 1.34) or float(values.std())
    width = max(0.9 * spread * len(values) ** -0.2, float(high - low) / 400)
    density = np.exp(-0.5 * ((places[:, None] - values[None, :]) / width) ** 2).sum(axis=1)
    return places, density / density.max()
