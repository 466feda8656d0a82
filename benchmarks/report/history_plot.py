"""A metric over commits as a picture: a colour for each row, a marker for each environment or set of data.

Points are joined along the commits' own descent, so that two branches run side by side until they are merged; those
that cannot be compared are never joined. Drawn by matplotlib without its global state, as the other pictures are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.pareto import plot_defaults
from visiondeploy.benchmarks.trends import Series, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1000, 625
"""Pixels of the PNG. It is wider where there are many commits."""

_DPI = 100
_WIDEST = 3000
_PER_COMMIT = 46
"""Pixels that a commit needs for its label."""

_INK, _GREY, _EDGE = "#1f2328", "#6a737d", "#d0d5db"
# Okabe & Ito, "Color Universal Design", 2008: told apart with any vision of colours; yellow is too light for lines.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5a5a5a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")
_LEGEND_LINES = 4


def history_plot(trend: Trend) -> Figure:
    """The picture: commits in their order, oldest on the left, against the metric with its 95 % intervals."""
    with plot_defaults():
        from matplotlib.figure import Figure

        width = min(_WIDEST, max(WIDTH, _PER_COMMIT * len(trend.stops)))
        figure = Figure(figsize=(width / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        _draw_frame(axes, trend, width)
        rows = list(dict.fromkeys(series.row for series in trend.series))
        groups = list(dict.fromkeys(series.group for series in trend.series))
        # Several rows at one commit stand beside each other, or their intervals would hide each other.
        step = min(0.12, 0.5 / len(trend.series))
        for number, series in enumerate(trend.series):
            colour = _COLOURS[rows.index(series.row) % len(_COLOURS)]
            group = sorted(groups).index(series.group)
            shift = (number - (len(trend.series) - 1) / 2) * step
            _draw_series(axes, series, colour, group, shift)
        _draw_legend(axes, len(trend.series), width)
        figure.draw_without_rendering()
    return figure


def _draw_frame(axes: Axes, trend: Trend, width: int) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title(f"{plain(trend.name)}: {plain(trend.metric.title)} over commits", loc="left", color=_INK, pad=12)
    said = ["bars: 95 % CI"] if any(p.interval is not None for s in trend.series for p in s.points) else []
    if trend.groups:
        said.append("other markers: not comparable")
    if said:
        axes.set_title(" · ".join(said), loc="right", color=_GREY, fontsize=9.5, pad=12)
    # What has no room is not written over its neighbour.
    every = -(-len(trend.stops) * _PER_COMMIT // width)
    shown = range(0, len(trend.stops), every)
    axes.set_xticks(list(shown), [_label(trend, place) for place in shown], fontsize=9.5)
    axes.set_xlim(-0.5, len(trend.stops) - 0.5)
    unit = trend.metric.title
    if trend.metric.directed:
        unit += f" ({'down' if trend.metric.smaller else 'up'} is better)"
    axes.set_ylabel(plain(unit))
    axes.set_xlabel("commits, parents before children (+ with uncommitted changes)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: trend.metric.shown(value)))
    axes.margins(y=0.14)
    axes.grid(visible=True, axis="y", color=_EDGE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(trend: Trend, place: int) -> str:
    """The commit, and its branch where that is another one than at the place before."""
    branches = [_branch(trend, index) for index in (place - 1, place)]
    branch = branches[1] if place == 0 or branches[0] != branches[1] else ""
    return f"{trend.stops[place].label}\n{plain(branch)[:14]}"


def _branch(trend: Trend, place: int) -> str:
    commit = trend.stops[place].runs[-1].run.commit
    return (commit.branch or "") if commit is not None else ""


def _draw_series(axes: Axes, series: Series, colour: str, group: int, shift: float) -> None:
    marker = _MARKERS[group % len(_MARKERS)]
    for one, other in series.lines:
        ends = (series.points[one], series.points[other])
        axes.plot(
            [point.stop + shift for point in ends],
            [point.value for point in ends],
            color=colour,
            linestyle=_DASHES[group % len(_DASHES)],
            linewidth=1.6,
            alpha=0.65,
            zorder=2,
        )
    for point in series.points:
        if point.interval is None:
            continue
        low, high = point.interval
        axes.errorbar(
            [point.stop + shift],
            [point.value],
            yerr=[[max(0.0, point.value - low)], [max(0.0, high - point.value)]],
            color=colour,
            alpha=0.75,
            linewidth=1.3,
            capsize=3.5,
            zorder=2,
        )
    axes.scatter(
        [point.stop + shift for point in series.points],
        [point.value for point in series.points],
        s=46,
        marker=marker,
        color=colour,
        edgecolors="white",
        linewidths=0.9,
        zorder=3,
        label=plain(series.label),
    )


def _draw_legend(axes: Axes, entries: int, width: int) -> None:
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.19),
        ncols=max(min(entries, width // 240), -(-entries // _LEGEND_LINES)),
        frameon=False,
        fontsize=9.5,
        handletextpad=0.4,
    )
