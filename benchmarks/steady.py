"""When a series of run times has become steady, so that what follows may be measured.

A fixed number of warm-up runs is too few for one engine and too many for the next, and some never become steady
(Barrett et al., "Virtual Machine Warmup Blows Hot and Cold", OOPSLA 2017), so it is looked at. As Kalibera & Jones do
by eye ("Rigorous Benchmarking in Reasonable Time", ISMM 2013), the start of the series is dropped and what remains must
show no trend: here the first half is dropped, and the trend is the median of slopes of Sen ("Estimates of the
Regression Coefficient Based on Kendall's Tau", JASA 63, 1968), which up to 29 % of outliers do not carry away. Whether
a trend is significant is not asked: with thousands of runs any is. What counts is how large it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visiondeploy.types import Array

FEWEST = 8
"""Runs from which on a series is believed to be steady: two pairs of them are compared."""

_GROUPS = 30


def drift(durations: Sequence[int] | Sequence[float] | Array) -> float:
    """By what share the last half of a series of two or more run times rises from start to end; below 0 it falls.

    The larger of two: the trend, from the median of the slopes between all pairs, and the change of the median from
    one half of that half to the other, which sees a step sooner. Long series are first cut into 30 groups of
    consecutive runs, of each of which the median is taken.
    """
    window = np.asarray(durations, dtype=np.float64)[len(durations) // 2 :]
    if window.size < 2:
        window = np.asarray(durations, dtype=np.float64)[-2:]
    groups = np.array([np.median(group) for group in np.array_split(window, min(window.size, _GROUPS))])
    first, second = np.triu_indices(groups.size, k=1)
    trend = float(np.median((groups[second] - groups[first]) / (second - first))) * (groups.size - 1)
    step = float(np.median(groups[-(groups.size // 2) :]) - np.median(groups[: groups.size // 2]))
    largest = max(trend, step, key=abs)
    centre = float(np.median(groups))
    return largest / centre if centre > 0 else 0.0


def is_steady(durations: Sequence[int] | Sequence[float] | Array, tolerance: float) -> bool:
    """Whether the last half of a series moves by no more than this share; False for a single run."""
    return len(durations) > 1 and abs(drift(durations)) <= tolerance
