"""Percentiles of latency with intervals, and ratios of them, by resampling the blocks of one run.

Runs of one block are alike, as clock and neighbours are; blocks are what is drawn anew. For a ratio the same blocks are
drawn of both sides, which shared them.
"""

from __future__ import annotations

import numpy as np

from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.statistics import Estimate, interval_of
from visiondeploy.types import Array

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

_RESAMPLES = 1_000
_ELEMENTS_AT_ONCE = 1 << 20


def tail(latency: Latency, quantile: float, seed: int = 0) -> Estimate | None:
    """A percentile in milliseconds with its 95 % interval; None where the report has no runs by block."""
    runs = _by_block(latency)
    if runs is None:
        return None
    chosen = _draw(len(runs), seed)
    return _estimate(_quantiles(runs, chosen, quantile), _of_all(runs, quantile), len(runs))


def tail_ratio(before: Latency, after: Latency, quantile: float, seed: int = 0) -> Estimate | None:
    """The percentile of `before` over that of `after`, as a speed-up; None where the two were not run in turns."""
    ours, theirs = _by_block(before), _by_block(after)
    if ours is None or theirs is None or len(ours) != len(theirs):
        return None
    chosen = _draw(len(ours), seed)
    ratios = _quantiles(ours, chosen, quantile) / _quantiles(theirs, chosen, quantile)
    return _estimate(ratios, _of_all(ours, quantile) / _of_all(theirs, quantile), len(ours))


def _by_block(latency: Latency) -> Array | None:
    """Runs by block, (blocks, runs); None where they are not there, or fewer than two blocks."""
    blocks = len(latency.blocks)
    if blocks < 2 or not latency.raw or len(latency.raw) % blocks:
        return None
    return np.asarray(latency.raw, dtype=np.float64).reshape(blocks, -1)


def _draw(blocks: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(blocks, size=(_RESAMPLES, blocks))


def _of_all(runs: Array, quantile: float) -> float:
    return float(np.quantile(runs, quantile, method="median_unbiased"))


def _quantiles(runs: Array, chosen: Array, quantile: float) -> Array:
    """Of each resample; a few at a time, as of a short network there are a thousand runs in each block."""
    at_once = max(1, _ELEMENTS_AT_ONCE // runs.size)
    found = [
        np.quantile(
            runs[chosen[start : start + at_once]].reshape(-1, runs.size), quantile, axis=1, method="median_unbiased"
        )
        for start in range(0, len(chosen), at_once)
    ]
    return np.concatenate(found)


def _estimate(resampled: Array, value: float, blocks: int) -> Estimate:
    low, high = interval_of(resampled, blocks)
    return Estimate(value, (min(low, value), max(high, value)), blocks)
