"""The variants of a compressed network as a picture: time against quality, with the front of those worth having.

A variant is dominated where another one is at least as fast and at least as good, and better in one of the two; the
Pareto front is what is left. The picture is drawn by matplotlib without its global state and with its own defaults,
so that it is the same whatever the machine is set to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from visiondeploy.benchmarks.report.cells import count, number, plain
from visiondeploy.benchmarks.report.compression import Compression
from visiondeploy.benchmarks.report.files import whole_file
from visiondeploy.benchmarks.report.labels import place_labels
from visiondeploy.benchmarks.report.schema import Quality, Report, Row
from visiondeploy.errors import UsageError
from visiondeploy.types import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1000, 625
"""Pixels of the PNG."""

_DPI = 100
_INK, _GREY, _EDGE = "#1f2328", "#6a737d", "#d0d5db"
_DOT, _CHOSEN, _BASELINE, _LINE = "#4c78a8", "#e4572e", "#2b2b2b", "#c3d3e4"
# Areas of points, in square points of 1/72 inch.
_LARGEST, _SMALLEST = 620.0, 36.0


@dataclass(frozen=True, slots=True)
class Point:
    """A network as it was measured: milliseconds, metric with its interval where there is one, number of parameters."""

    name: str
    milliseconds: float
    quality: float
    interval: tuple[float, float] | None
    parameters: int | None
    chosen: bool = False
    smaller: bool = False

    @property
    def worth(self) -> float:
        """The metric, or where less of it is better its negative."""
        return -self.quality if self.smaller else self.quality


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, value) that no other one dominates, from the cheapest on.

    A point is dominated by one that costs no more and is worth no less, unless the two are equal: of equal points
    all are on the front, or none.
    """
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1], one)):
        if not found or points[index][1] > points[found[-1]][1] or points[index] == points[found[-1]]:
            found.append(index)
    return found


def points(report: Report) -> tuple[Point, ...]:
    """The variants whose engines were measured, in their order.

    Raises UsageError where the report has no compression, or none of its variants has both a time and a metric.
    """
    compression = _compression(report)
    rows = {row.name: row for row in report.rows}
    found = [
        _point(rows[variant.row], plain(variant.name), variant.parameters, chosen=variant.name == compression.chosen)
        for variant in compression.variants
        if variant.row is not None
    ]
    measured = tuple(point for point in found if point is not None)
    if not measured:
        raise UsageError("no variant has both a p50 latency and a metric, so there is nothing to draw: measure them.")
    return measured


def pareto_plot(report: Report) -> Figure:
    """The picture, `WIDTH` by `HEIGHT` pixels: latency (log scale) against the metric, a point for each variant.

    What is better is further up: of a metric of which less is better the scale is turned round.

    Error bars are the interval of the difference to the baseline, set upon the baseline's metric. The front is a
    staircase, as between two variants there is none. Raises UsageError as `points` does.
    """
    variants = points(report)
    compression = _compression(report)
    measured = {variant.row for variant in compression.variants}
    own = report.baseline.name not in measured  # a variant that is the baseline is drawn once, as a variant
    baseline = _point(report.baseline, plain(report.baseline.name), report.baseline.parameters) if own else None
    with plot_defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        shown = (*variants, baseline) if baseline is not None else variants
        _draw_frame(axes, report, shown)
        _draw_front(axes, variants)
        radii = _draw_points(axes, variants)
        if baseline is not None:
            _draw_baseline(axes, baseline)
            radii.append(7.0)
        _draw_legend(axes)
        figure.draw_without_rendering()
        place_labels(
            axes,
            [(point.milliseconds, point.quality) for point in shown],
            [_label(point) for point in shown],
            radii,
            _segments(shown, variants),
        )
    return figure


def save_plot(path: Path, figure: Figure) -> None:
    """Write the picture as PNG or SVG, whichever the name ends in; the same figure gives the same bytes.

    Raises UsageError for another ending, ResourceError where the file cannot be written.
    """
    # What names the library or the day would make files differ that show the same.
    metadata: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
    }
    if path.suffix not in metadata:
        raise UsageError(f"a plot is saved as .png or .svg, found {path.name}: choose one of them.")
    with plot_defaults(), whole_file(path) as stream:
        figure.savefig(stream, format=path.suffix[1:], metadata=metadata[path.suffix])


@contextmanager
def plot_defaults() -> Iterator[None]:
    """Settings of matplotlib that no file of the user's has changed."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # Ids within an SVG are random without a salt; outlines look the same where the font is not installed.
        matplotlib.rc("svg", hashsalt="visiondeploy", fonttype="path")
        matplotlib.rc("text", parse_math=False)  # a name may hold dollar signs
        matplotlib.rc("font", size=11)
        matplotlib.rc("axes", edgecolor=_GREY, labelcolor=_INK)
        matplotlib.rc("xtick", color=_GREY, labelcolor=_INK)
        matplotlib.rc("ytick", color=_GREY, labelcolor=_INK)
        yield


def _compression(report: Report) -> Compression:
    if report.compression is None:
        raise UsageError("the report has no compression, so there are no variants to draw: compress a network first.")
    return report.compression


def _point(row: Row, name: str, parameters: int | None, *, chosen: bool = False) -> Point | None:
    quality, latency = row.quality, row.latency_ms
    if row.status is not Status.OK or quality is None or latency is None or latency.p50 is None:
        return None
    return Point(name, latency.p50, quality.value, _interval(quality), parameters, chosen, quality.smaller)


def _interval(quality: Quality) -> tuple[float, float] | None:
    if quality.ci95 is None or quality.ci95[0] == quality.ci95[1]:
        return None
    return quality.baseline + quality.ci95[0], quality.baseline + quality.ci95[1]


def _label(point: Point) -> tuple[str, bool]:
    """What stands beside a point, and whether it is set bold."""
    parts = [f"{number(point.milliseconds)} ms"]
    if point.parameters is not None:
        parts.append(count(point.parameters))
    return f"{point.name}\n{' · '.join(parts)}", point.chosen


def _draw_frame(axes: Axes, report: Report, shown: Sequence[Point]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    compression = _compression(report)
    measured = next(row.quality for row in report.rows if row.quality is not None)
    engine = " ".join(part for part in (compression.backend, compression.precision) if part)
    axes.set_title(f"Compressed networks on {plain(engine)}: quality against time", loc="left", color=_INK, pad=12)
    if any(point.interval is not None for point in shown):
        bars = "bars: 95 % CI of the difference to PyTorch fp32"
        axes.set_title(bars, loc="right", color=_GREY, fontsize=9.5, pad=12)
    axes.set_xscale("log")
    times = [point.milliseconds for point in shown]
    low, high = min(times), max(times)
    # Room on both sides for the labels, at least that of a quarter of an octave.
    margin = max((high / low) ** 0.12, 1.2)
    axes.set_xlim(low / margin, high * margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks(low / margin, high * margin)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("latency p50 of one inference, ms (log scale; left is faster)")
    plural = "s" if measured.n > 1 else ""
    axes.set_ylabel(f"{plain(measured.metric)} on {measured.n} image{plural} (up is better)")
    if measured.smaller:
        axes.invert_yaxis()
    axes.margins(y=0.16)
    axes.grid(visible=True, color=_EDGE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers of a log scale within positive limits: 1, 2 and 5 of each decade, or more where these are few."""
    first, last = (int(f"{limit:e}".split("e")[1]) for limit in (low, high))
    halves, tenths = (tuple(step / parts for step in range(parts, 10 * parts)) for parts in (2, 10))
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), halves, tenths):
        found = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            break
    return inside


def _draw_front(axes: Axes, variants: Sequence[Point]) -> None:
    times, qualities = zip(*_best(variants), strict=True)
    axes.plot(
        times,
        qualities,
        drawstyle="steps-post",
        color=_LINE,
        linewidth=4,
        zorder=1,
        label="Pareto front of the variants",
    )


def _best(variants: Sequence[Point]) -> list[tuple[float, float]]:
    best = [variants[index] for index in front([(point.milliseconds, point.worth) for point in variants])]
    return [(point.milliseconds, point.quality) for point in best]


def _segments(
    shown: Sequence[Point], variants: Sequence[Point]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """What is drawn in lines: error bars, and the steps of the front; each from point to point."""
    bars = [
        ((point.milliseconds, point.interval[0]), (point.milliseconds, point.interval[1]))
        for point in shown
        if point.interval is not None
    ]
    steps = [
        segment
        for start, end in pairwise(_best(variants))
        for segment in ((start, (end[0], start[1])), ((end[0], start[1]), end))
    ]
    return [*bars, *steps]


def _draw_points(axes: Axes, variants: Sequence[Point]) -> list[float]:
    """The variants, each as large as its network; their radii in points of 1/72 inch."""
    largest = max((point.parameters or 0 for point in variants), default=0) or 1
    known = {False: "variant (area: parameters)", True: "chosen"}
    radii = []
    for point in variants:
        area = max(_SMALLEST, _LARGEST * (point.parameters or 0) / largest)
        colour = _CHOSEN if point.chosen else _DOT
        _draw_interval(axes, point, colour)
        axes.scatter(
            [point.milliseconds],
            [point.quality],
            s=area,
            color=colour,
            edgecolors=_INK if point.chosen else "white",
            linewidths=1.6 if point.chosen else 1.0,
            alpha=0.9,
            zorder=4 if point.chosen else 3,
            label=known.pop(point.chosen, None),
        )
        radii.append((area / 3.1416) ** 0.5)
    return radii


def _draw_baseline(axes: Axes, point: Point) -> None:
    _draw_interval(axes, point, _BASELINE)
    axes.scatter(
        [point.milliseconds],
        [point.quality],
        s=90,
        marker="D",
        facecolors="white",
        edgecolors=_BASELINE,
        linewidths=1.8,
        zorder=3,
        label="PyTorch fp32, not compressed",
    )


def _draw_legend(axes: Axes) -> None:
    from matplotlib.collections import PathCollection

    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, frameon=False, fontsize=10, handletextpad=0.6
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([80])


def _draw_interval(axes: Axes, point: Point, colour: str) -> None:
    if point.interval is None:
        return
    low, high = point.interval
    axes.errorbar(
        [point.milliseconds],
        [point.quality],
        yerr=[[max(0.0, point.quality - low)], [max(0.0, high - point.quality)]],
        color=colour,
        alpha=0.75,
        linewidth=1.3,
        capsize=3.5,
        zorder=2,
    )
