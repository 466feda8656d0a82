"""Percentiles that the data support, speed-ups and metric differences with intervals, and what they prove.

Intervals are bootstrap intervals (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993). With few
blocks or samples the plain percentile interval is too short, as the bootstrap's spread lacks the factor
√(n/(n−1)) and uses the normal quantile where Student's t belongs; it is therefore taken at the wider
level Φ(−√(n/(n−1))·t) of the "expanded percentile interval" of Hesterberg, "What Teachers Should Know
About the Bootstrap", The American Statistician 69(4), 2015.

Why not BCa: latencies on a shared machine have rare, large outliers, from which BCa estimates its
acceleration badly. On simulated blocks with 2 % noise and 10 % outliers of 10 %, intervals meant to hold
the truth in 95 % of cases did so, for 7, 20 and 40 blocks: expanded 93, 94, 94 %; plain 85, 88, 94 %;
BCa (20 and 40) 87, 88 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from visiondeploy.errors import InputError, UsageError
from visiondeploy.types import Array, Outcome

Interval = tuple[float, float]

_RATIO_RESAMPLES = 9_999
_ELEMENTS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % interval (or that of the confidence asked for), and the number of pairs behind it."""

    value: float
    ci95: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles in the unit of the values; None where the number of values does not support one."""

    p50: float | None
    p90: float | None
    p99: float | None
    n: int


def minimum_runs(quantile: float, confidence: float = 0.95) -> int:
    """The number of independent runs from which on a quantile in 0…1 is quoted.

    The largest of n runs lies above the q-quantile with probability 1 − qⁿ, whatever the distribution
    (Wilks, "Determination of Sample Sizes for Setting Tolerance Limits", Annals of Mathematical
    Statistics 12(1), 1941). Below the n at which that reaches the confidence, not even the slowest run
    seen is an upper bound of the quantile, and a number printed under that name would be an
    extrapolation. At 95 %: 5 runs for p50, 29 for p90, 299 for p99.

    Raises UsageError where the quantile or the confidence is not between 0 and 1.

    >>> [minimum_runs(q) for q in (0.5, 0.9, 0.99)]
    [5, 29, 299]
    """
    if not (0 < quantile < 1 and 0 < confidence < 1):
        raise UsageError(f"a quantile and a confidence lie between 0 and 1, found {quantile} and {confidence}.")
    return math.ceil(math.log1p(-confidence) / math.log(quantile))


def percentiles(values: Sequence[float] | Array) -> Percentiles:
    """p50, p90 and p99 of the values, each only if `minimum_runs` allows it.

    The estimator is number 8 of Hyndman & Fan, "Sample Quantiles in Statistical Packages", The American
    Statistician 50(4), 1996: approximately median-unbiased whatever the distribution.
    """
    data = np.asarray(values, dtype=np.float64)

    def quoted(quantile: float) -> float | None:
        if data.size < minimum_runs(quantile):
            return None
        return float(np.quantile(data, quantile, method="median_unbiased"))

    return Percentiles(quoted(0.5), quoted(0.9), quoted(0.99), int(data.size))


def paired_ratio(
    baseline: Sequence[float] | Array,
    candidate: Sequence[float] | Array,
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """The ratio baseline / candidate of values that were taken in pairs, such as medians of blocks.

    Both have shape (n,), n ≥ 2, positive, any common unit. The estimate is the geometric mean of the n
    ratios, exp(mean(log(bᵢ/cᵢ))): what the machine did to both of a pair cancels, and swapping the two
    gives the reciprocal. A block that was disturbed is not dropped; it widens the interval. Pairs are
    resampled, and the interval always contains the estimate.

    Raises UsageError where lengths differ, there are fewer than two pairs, or a value is not positive.
    """
    above, below = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if above.shape != below.shape or above.ndim != 1 or above.size < 2:
        raise UsageError(f"a paired ratio needs two or more pairs, found shapes {above.shape} and {below.shape}.")
    if not all(np.isfinite(side).all() and (side > 0).all() for side in (above, below)):
        raise UsageError(
            "a paired ratio needs positive, finite values: check the clock, or let a block hold more runs."
        )
    logs = np.log(above) - np.log(below)
    centre = float(logs.mean())
    low, high = centre, centre
    # Without spread there is nothing to resample, and rounding should not look like spread.
    if np.ptp(logs) > 1e-12 * max(1.0, abs(centre)):
        low, high = _interval_of_mean(logs, seed, confidence)
    value = math.exp(centre)
    return Estimate(value, (min(math.exp(low), value), max(math.exp(high), value)), int(logs.size))


def _interval_of_mean(values: Array, seed: int, confidence: float) -> Interval:
    chosen = np.random.default_rng(seed).integers(values.size, size=(_RATIO_RESAMPLES, values.size))
    return _expanded_percentile(values[chosen].mean(axis=1), values.size, confidence)


def _expanded_percentile(resampled: Array, n: int, confidence: float, strata: int = 1) -> Interval:
    """Of n samples in so many strata, each of which costs a degree of freedom; resamples that are NaN are left out."""
    from scipy import special

    kept = resampled[np.isfinite(resampled)]
    if kept.size < 2:
        raise InputError(f"the metric is not a finite number in resamples of {n} samples: give more samples.")
    freedom = n - strata
    tail = float(special.ndtr(math.sqrt(n / freedom) * special.stdtrit(freedom, (1 - confidence) / 2)))
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)


def interval_of(resampled: Array, n: int) -> Interval:
    """The 95 % interval of an estimate from n pairs or blocks, of which (resamples,) are bootstrap values."""
    return _expanded_percentile(resampled, n, 0.95)


def paired_bootstrap(
    value: Callable[[Array], float],
    baseline: Array,
    candidate: Array,
    *,
    resamples: int = 2_000,
    seed: int = 0,
    confidence: float = 0.95,
    strata: Sequence[Hashable] | None = None,
) -> Estimate:
    """The difference value(candidate) − value(baseline) of a metric, samples resampled in pairs.

    `baseline` and `candidate` are stacks of per-sample sufficient statistics, (n, …), n ≥ 2, row i of both
    from sample i; `value` is the metric of such a stack (`Task.value`). The same samples are drawn for
    both, as the two are judged on the same images and their values move together.

    A metric that only depends on the sum of the rows (mIoU from confusion matrices) is computed from one
    summed row per resample, by a product with the multinomial counts; that this is so is tried on the
    first resamples, and where it does not hold, the rows themselves are resampled. Resamples in which the
    metric is not a number (no class is present) are left out. The interval always contains the difference.

    `strata` names the stratum of each sample, within which is resampled, so that each keeps its number of samples
    (Efron & Tibshirani, §8.3). That is right where these numbers were chosen, as in a split that takes so many images
    from each town, and narrower as far as the strata differ in the *difference*; where they came by chance, the
    interval without strata is the right one. Strata of one sample are taken together, as one sample has no spread. It
    does not help against frames of a video that are alike: those need whole sequences to be drawn, of which there are
    few.

    Raises UsageError where shapes differ or n < 2, InputError where the metric of all samples is not finite.
    """
    _check_pairs(baseline, candidate)
    n = len(baseline)
    point = float(value(candidate)) - float(value(baseline))
    if not math.isfinite(point):
        raise InputError(
            f"the metric over {n} samples is not a finite number: check the outputs and that truths exist."
        )
    groups = _strata(strata, n)
    differences = _differences(value, baseline, candidate, resamples, seed, groups)
    low, high = _expanded_percentile(differences, n, confidence, len(groups))
    return Estimate(point, (min(low, point), max(high, point)), n)


def paired_bootstrap_parts(
    parts: Callable[[Array], Array],
    baseline: Array,
    candidate: Array,
    *,
    resamples: int = 2_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Estimate | None]:
    """As `paired_bootstrap`, of k values at once, such as the IoU of k classes: `parts` gives (k,), NaN where none is.

    The n of a value is the number of samples in which it is above zero on either side: a class that is in three images
    has the degrees of freedom of three, whatever the size of the set. None where a value is missing on all samples of
    one side, or is in fewer than two samples, of which nothing can be said.
    """
    _check_pairs(baseline, candidate)
    point = parts(candidate) - parts(baseline)
    rows = range(len(baseline))
    seen = np.array([[parts(side[row : row + 1]) > 0 for row in rows] for side in (baseline, candidate)])
    counts = seen.any(axis=0).sum(axis=0)
    differences = _differences(parts, baseline, candidate, resamples, seed, _strata(None, len(baseline)))
    found: list[Estimate | None] = []
    for number, (difference, count) in enumerate(zip(point, counts, strict=True)):
        resampled = differences[:, number]
        if not math.isfinite(difference) or count < 2 or np.isfinite(resampled).sum() < 2:
            found.append(None)
            continue
        low, high = _expanded_percentile(resampled, int(count), confidence)
        interval = (min(low, float(difference)), max(high, float(difference)))
        found.append(Estimate(float(difference), interval, int(count)))
    return found


def _check_pairs(baseline: Array, candidate: Array) -> None:
    if baseline.shape != candidate.shape or baseline.ndim < 1 or len(baseline) < 2:
        raise UsageError(
            f"a paired bootstrap needs the same two or more samples on both sides, "
            f"found shapes {baseline.shape} and {candidate.shape}."
        )


def _strata(names: Sequence[Hashable] | None, n: int) -> list[Array]:
    """The indices of the samples of each stratum, two at least in each."""
    if names is None:
        return [np.arange(n)]
    if len(names) != n:
        raise UsageError(f"each of {n} samples has a stratum, found {len(names)}.")
    members: dict[Hashable, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    alone = [index for group in members.values() if len(group) == 1 for index in group]
    groups = [group for group in members.values() if len(group) > 1]
    if len(alone) > 1 or not groups:
        groups.append(alone)
    else:
        groups[0] = [*groups[0], *alone]
    return [np.array(group) for group in groups]


def _differences(
    value: Callable[[Array], float | Array],
    baseline: Array,
    candidate: Array,
    resamples: int,
    seed: int,
    groups: Sequence[Array],
) -> Array:
    """value(candidate) − value(baseline) in each resample, (resamples,) or (resamples, k)."""
    n = len(baseline)
    generator = np.random.default_rng(seed)
    at_once = max(1, _ELEMENTS_AT_ONCE // max(n, baseline[0].size))
    found: list[Array] = []
    summable: bool | None = None
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        counts = np.empty((size, n), dtype=np.int64)
        for group in groups:
            counts[:, group] = generator.multinomial(len(group), np.full(len(group), 1 / len(group)), size=size)
        if summable is None:
            summable = all(_depends_on_sum(rows, counts[:3], value) for rows in (baseline, candidate))
        of = _values_of_sums if summable else _values_of_rows
        found.append(of(candidate, counts, value) - of(baseline, counts, value))
    return np.concatenate(found)


def _values_of_sums(rows: Array, counts: Array, value: Callable[[Array], float | Array]) -> Array:
    # In float64 the product is a matrix product of BLAS; counts of pixels are exact below 2⁵³.
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    sums = (counts.astype(np.float64) @ flat).reshape(len(counts), 1, *rows.shape[1:])
    if np.issubdtype(rows.dtype, np.integer):
        sums = np.rint(sums).astype(np.int64)
    return np.array([value(row) for row in sums], dtype=np.float64)


def _values_of_rows(rows: Array, counts: Array, value: Callable[[Array], float | Array]) -> Array:
    index = np.arange(len(rows))
    return np.array([value(rows[np.repeat(index, count)]) for count in counts], dtype=np.float64)


def _depends_on_sum(rows: Array, counts: Array, value: Callable[[Array], float | Array]) -> bool:
    of_sums, of_rows = _values_of_sums(rows, counts, value), _values_of_rows(rows, counts, value)
    return np.allclose(of_sums, of_rows, rtol=1e-9, atol=1e-12, equal_nan=True)


def at_least(interval: Interval | None, limit: float) -> Outcome:
    """Whether a value with this interval is shown to be at least `limit` (both in the same unit).

    PASS where the whole interval is at or above the limit, FAIL where it lies wholly below, INCONCLUSIVE
    where it straddles the limit or where there is no interval. Raises UsageError on a limit that is not finite.
    """
    if not math.isfinite(limit):
        raise UsageError(f"a limit is a finite number, found {limit}.")
    if interval is None or not all(math.isfinite(bound) for bound in interval):
        return Outcome.INCONCLUSIVE
    low, high = interval
    if low >= limit:
        return Outcome.PASS
    return Outcome.FAIL if high < limit else Outcome.INCONCLUSIVE


def non_inferior(delta_ci: Interval | None, margin: float) -> Outcome:
    """Whether a candidate is shown to lose no more than `margin` of the metric (larger is better).

    `delta_ci` is the interval of candidate − baseline, `margin` ≥ 0 in the metric's unit. The two-sided
    95 % interval makes this a test at level 2.5 %, as ICH E9 (1998), §3.3.2, wants it for non-inferiority.
    Raises UsageError on a negative margin or one that is not finite.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"the margin is the loss that is tolerated, zero or more, found {margin}.")
    return at_least(delta_ci, -margin)
