"""Observers say which range of a tensor to represent, from what calibration saw of it.

All of them read the same statistics, so trying another takes no other pass over the images.
A new observer is one function and one line in `OBSERVERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visiondeploy.calibration.histogram import BINS
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.errors import unknown_name
from visiondeploy.types import Array


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a tensor to represent; low ≤ high, both finite. What lies outside is clipped."""

    low: float
    high: float


Code = Literal["uint8", "int8", "fp8"]
"""The type of codes; "fp8" is E4M3 without infinity (Micikevicius et al. 2022, arXiv:2209.05433)."""

LARGEST_E4M3 = 448


@dataclass(frozen=True, slots=True)
class Target:
    """The codes that a range is spread over: `levels` of them, zero among them.

    Integers are at equal steps of (high − low) / (levels − 1). Those of fp8 are denser near zero; observers take
    them as if they were not. Affine ranges contain 0; symmetric ones are −t … t.
    """

    symmetric: bool
    levels: int
    code: Code

    @property
    def width(self) -> float:
        """From the lowest code to the highest: a range by it is the scale."""
        return 2 * LARGEST_E4M3 if self.code == "fp8" else self.levels - 1

    def range(self, low: float, high: float) -> Range:
        """The range of this target that holds low … high and zero, and no more than it must."""
        # 0.0 + keeps a negative zero out of what people read.
        if self.symmetric:
            reach = max(-low, high, 0.0)
            return Range(0.0 - reach, 0.0 + reach)
        return Range(0.0 + min(low, 0.0), 0.0 + max(high, 0.0))

    def within(self, low: float, high: float, statistics: TensorStatistics) -> Range:
        """The same for low … high without what no value was seen in: an edge of a bin may lie beyond them all."""
        least, most = statistics.extremes()
        return self.range(max(low, least), min(high, most))


AFFINE_UINT8 = Target(symmetric=False, levels=256, code="uint8")
SYMMETRIC_INT8 = Target(symmetric=True, levels=255, code="int8")
"""−127 … 127, zero point 0."""
E4M3 = Target(symmetric=True, levels=253, code="fp8")
"""−448 … 448, no zero point."""

Observer = Callable[[TensorStatistics, Target], Range]
"""Raises `InputError` where the statistics are of no value, or of one that is NaN or infinite."""


def min_max(statistics: TensorStatistics, target: Target) -> Range:
    """From the smallest to the largest value ever seen: nothing is clipped."""
    return target.range(*statistics.extremes())


def moving_average(statistics: TensorStatistics, target: Target) -> Range:
    """From the average smallest to the average largest value of a sample, later samples counting more."""
    statistics.extremes()
    return target.range(statistics.average_low, statistics.average_high)


def percentile(statistics: TensorStatistics, target: Target, percent: float = 99.99) -> Range:
    """What leaves at most 100 − `percent` of all values outside at each end; of all magnitudes, if symmetric.

    The ends are edges of bins, of which the nearest is taken that does not clip more.
    """
    histogram = statistics.histogram
    allowed = (1 - percent / 100) * histogram.count

    def end(side: Array) -> float:
        return float(np.argmax(_beyond(side) <= allowed)) * histogram.width

    if target.symmetric:
        reach = end(histogram.positive + histogram.negative)
        return target.within(-reach, reach, statistics)
    return target.within(-end(histogram.negative), end(histogram.positive), statistics)


def entropy(statistics: TensorStatistics, target: Target) -> Range:
    """−t … t where the Kullback–Leibler divergence from the clipped to the quantised distribution is least.

    Migacz, "8-bit Inference with TensorRT", GTC 2017. A symmetric target is fitted to the distribution of
    magnitudes, with half of the levels, as there. An affine one is fitted to the values between −t and t
    among those that were seen, with all levels: a ReLU's output is unsigned and its range is 0 … t.
    Exact zeros are left out (see `Histogram`).
    """
    histogram = statistics.histogram
    least, most = statistics.extremes()
    bins = np.arange(1, BINS + 1)
    if target.symmetric:
        counts, levels = histogram.positive + histogram.negative, (target.levels + 1) // 2
        start, stop = np.zeros_like(bins), bins
        occupied = _occupied(counts)
    else:
        counts, levels = histogram.counts, target.levels
        below, above = _occupied(histogram.negative), _occupied(histogram.positive)
        start, stop = BINS - np.minimum(bins, below), BINS + np.minimum(bins, above)
        occupied = max(below, above)
    if occupied == 0:
        return target.range(least, most)
    # With fewer bins than levels nothing would be lost by quantising, whatever was clipped.
    tried = bins[:occupied][((stop - start)[:occupied] >= levels) | (bins[:occupied] == occupied)]
    found = _divergence(counts, start[tried - 1], stop[tried - 1], levels)
    # The widest among equals.
    reach = float(tried[::-1][np.argmin(found[::-1])]) * histogram.width
    return target.within(-reach, reach, statistics)


def mse(statistics: TensorStatistics, target: Target) -> Range:
    """The ends with the least expected squared error of quantisation, searched among the edges of the bins.

    A value in the range is off by the error of rounding to a step Δ, whose mean square is Δ²/12 (Bennett,
    "Spectra of Quantized Signals", 1948); one outside by its distance to the end; zero not at all. Values
    are taken as spread evenly within their bin. An affine range has two ends: the grid of both is searched
    at every 16th edge, then at every edge around the best.
    """
    histogram = statistics.histogram
    least, most = statistics.extremes()
    edges = np.arange(BINS + 1)

    def ends(side: Array, extreme: float) -> tuple[Array, Array, Array]:
        # In widths of a bin, so that the squares stay exact.
        return np.minimum(edges, extreme / histogram.width), side.sum() - _beyond(side), _clipping_error(side)

    if target.symmetric:
        reach, inside, clipped = ends(histogram.positive + histogram.negative, max(-least, most))
        error = clipped + (2 * reach / (target.levels - 1)) ** 2 / 12 * inside
        best = float(reach[np.argmin(error)]) * histogram.width
        return target.range(-best, best)
    below, above = ends(histogram.negative, max(-least, 0.0)), ends(histogram.positive, max(most, 0.0))

    def search(rows: Array, columns: Array) -> tuple[int, int]:
        reach, inside, clipped = (a[rows, None] + b[columns] for a, b in zip(below, above, strict=True))
        error = clipped + (reach / (target.levels - 1)) ** 2 / 12 * inside
        row, column = np.unravel_index(np.argmin(error), error.shape)
        return int(rows[row]), int(columns[column])

    coarse = 16
    row, column = search(edges[::coarse], edges[::coarse])
    row, column = search(*(edges[max(at - coarse, 0) : at + coarse + 1] for at in (row, column)))
    return target.range(float(-below[0][row]) * histogram.width, float(above[0][column]) * histogram.width)


OBSERVERS: dict[str, Observer] = {
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def observer_of(name: str) -> Observer:
    """The observer of that name. Raises `UsageError` for one that is not in the table."""
    if name not in OBSERVERS:
        raise unknown_name("observer", name, OBSERVERS)
    return OBSERVERS[name]


def _beyond(side: Array) -> Array:
    """How much of a side of n bins lies beyond each of its n + 1 edges."""
    return np.append(np.cumsum(side[::-1])[::-1], 0)


def _occupied(side: Array) -> int:
    """How many bins there are up to the last that is not empty."""
    return int(np.argmax(_beyond(side) == 0))


def _clipping_error(side: Array) -> Array:
    """Σ (x − edge)² over what lies beyond each edge of a side, in widths of a bin: float64 of n + 1."""
    centre, edge = np.arange(side.size) + 0.5, np.arange(side.size + 1)
    zeroth, first, second = (_beyond(side * centre**power) for power in range(3))
    # The variance within a bin is 1/12.
    return np.asarray(second - 2 * edge * first + edge**2 * zeroth + zeroth / 12)


def _divergence(counts: Array, start: Array, stop: Array, levels: int) -> Array:
    """KL(P ‖ Q) of each window start … stop of the bins, in nats.

    P is the window with what lies outside added to its first and last bin. Q is the window alone, merged
    into `levels` cells, each spread evenly over its bins that are not empty; an end bin that is empty but
    for what was added counts as one value. With p the counts of P, n their sum, and m the mean of a bin's cell

        KL = Σ p/n · ln(p / m) = (Σ p ln p − Σ p ln m) / n

    where only the end bins and the cells differ from running sums over all bins. Unlike in Migacz's slides,
    Q is not scaled back to the sum n, which adds ln(n / (n − outside)). With the scaling a window that cuts
    through a peak fits perfectly: of a tensor that is constant, all would be clipped.
    """
    # A count is 0 or at least 1, and so is the mean of a cell, so that 0 · ln 1 stands for 0 · ln 0.
    entropies = counts * np.log(np.maximum(counts, 1))
    running, filled, own = (np.append(0, np.cumsum(a)) for a in (counts, counts > 0, entropies))
    edges = start[:, None] + -(-(stop - start)[:, None] * np.arange(levels + 1) // levels)
    cells, members = np.diff(running[edges]), np.diff(filled[edges])
    logs = np.log(np.maximum(cells / np.maximum(members, 1), 1))
    found = own[stop] - own[start] - np.sum(cells * logs, axis=1)
    for end, outside in ((start, running[start]), (stop - 1, running[-1] - running[stop])):
        there = counts[end] + outside
        cell = np.sum(edges <= end[:, None], axis=1) - 1
        log = np.where(counts[end] > 0, logs[np.arange(end.size), cell], 0.0)
        found += there * np.log(np.maximum(there, 1)) - entropies[end] - outside * log
    return np.asarray(found / running[-1])
