"""From intervals and limits to PASS, FAIL and INCONCLUSIVE, with p-values and what would decide.

What the outcomes promise, at the level α = 2.5 % to each side (the 95 % interval's):

PASS          the limit was shown to be held: a test rejected that it is not. Of verdicts in which any limit is in truth
              not held, at most α have a PASS on one of those.
FAIL          the limit was shown not to be held. Of verdicts in which any limit is in truth held, at most α have a FAIL
              on one of those; an engine against itself fails as rarely.
INCONCLUSIVE  neither was shown. It is never a guess to one side: `Decision.enough` says how much data would decide.

That a limit "value ≥ limit" is held is a test of non-inferiority where the limit lies below no change, and of
superiority where it lies above; both are the same test with another limit (ICH E9, 1998, §3.3.2).

Correction. A verdict makes many such tests, and each error counts: one false FAIL stops a release, and one false PASS
among eight engines is the engine that is then picked. So the family-wise error is controlled, of false FAILs and of
false PASSes apart (a limit is either held or not, so that each test can err to one side only), by Holm, "A Simple
Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), 1979. It holds whatever the
dependence between the checks, which share their images and their baseline, and it is never weaker than Bonferroni's.
Benjamini & Hochberg's procedure controls the share of false ones among all FAILs, which is of no help to who reads
that one line. (A verdict that is PASS as a whole needs every check to pass, which by itself errs with at most α,
however many there are: Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24(4), 1982.
The correction is for those who read the single lines.) Checks that are compared without a test do not count.

Several values under one limit, such as the change of each class under "no class loses more than 5 points", are one
claim of all of them. It passes if each value passes by itself (Berger's intersection–union test, no correction), and
fails if one fails after Bonferroni's correction for their number. Not the bootstrap of the smallest: the smallest of
noisy changes lies below the smallest of the true ones, and in each resample below that again.

Which test. p-values are Student's t of the distance between estimate and limit, in the standard errors that the shown
interval implies: with one check the outcome is that of the 95 % interval, and p-values in the far tail do not rest on
a handful of resamples. One-sided errors at nominal 2.5 %, and at 2.5 % / 8 (times 8), simulated, FAIL / PASS:

    blocks' log ratios                 n      t            t at 1/8     bootstrap    Wilcoxon
    normal noise of 2 %                7      2.5 / 2.4    2.8 / 1.9    3.4 / 3.1    2.6 / 2.5
                                       60     2.6 / 2.5    2.0 / 2.3    2.6 / 2.5    1.9 / 2.5
    a tenth of blocks off by 10 %      7      1.2 / 1.3    0.7 / 1.0    3.1 / 3.0    2.0 / 2.1
                                       60     2.4 / 2.5    2.2 / 2.6    2.3 / 3.0    2.2 / 2.5
    3 % of blocks off by 30 %          7      1.7 / 1.6    1.6 / 1.8    2.1 / 3.7    1.9 / 2.6
                                       60     0.6 / 0.7    0.1 / 0.1    5.8 / 4.3    2.3 / 2.3

No test holds its level where only one of the two is disturbed (errors up to 10 %), or where neighbouring blocks are
alike (7 % at a correlation of 0.3): that is for shuffled blocks to prevent. Wilcoxon's test judges the median.

Of differences of a metric the intervals are those of the paired bootstrap. On 101 images whose shares of flipped pixels
are log-normal, so that few images lose most, they miss the truth in 5 to 7 % of cases on the side where the loss is
thought too small, and in 1 to 2 % on the other: a false PASS at the very limit is that frequent, a false FAIL rarer
than promised. BCa, Hall's transformation for skewness and the bootstrap-t of jackknife values missed as often (6.5 to
7.3 %), since images of the kind that loses most are in few of the sets; more images help.

Looking while measuring. Who looks after each block and stops when decided errs in 14 % of cases instead of 2.5 %.
Ratios from blocks are therefore tested by a mixture of likelihood ratios that holds at all numbers of blocks at once,
whatever made one stop (`_anytime`). At the limit itself, with looks after each of 7 to 60 blocks, FAIL / PASS in %,
and the blocks until what lies 2.3 standard deviations away from it was decided:

                                       normal        outliers      large outliers   blocks until decided
    t, looked at each time             14.2 / 13.3   12.1 / 12.0   6.6 / 7.1        7
    Pocock's boundary, 7 looks         2.9 / 2.6     1.8 / 1.8     1.1 / 1.2        7
    O'Brien & Fleming's, 7 looks       2.9 / 2.9     2.5 / 2.6     0.5 / 0.6        14
    mixture, any looks                 1.4 / 1.2     0.6 / 0.5     0.5 / 0.6        7

The boundaries decide with a tenth fewer blocks where it is close, but need the looks to be planned, and a run that ends
when its time is over has no plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from visiondeploy.benchmarks.statistics import Estimate, Interval, at_least
from visiondeploy.errors import UsageError
from visiondeploy.types import Array, Outcome

LEVEL = 0.025
"""Of a test to one side; the 95 % interval has it on both."""
CHANCE = 0.8
"""With which the data that `Decision.enough` asks for decide, if the truth is what was estimated."""
MOST = 100
"""Times the data that there are: what more would be asked for is not worth a number."""

# Variance of the effect, in standard deviations of a block, that the mixture expects: 1 is a difference as large as the
# noise of a block. It decides how soon, never how often wrongly.
_EXPECTED = 1.0
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Evidence:
    """An estimate with its 95 % interval from `n` images or blocks, in a unit that adds up (points, logarithms).

    `peeked` says that the number of blocks depended on what had been seen. None for the interval where there is none.
    """

    value: float
    ci95: Interval | None
    n: int
    peeked: bool = False

    @classmethod
    def of_ratio(cls, value: float, ci95: Interval, n: int) -> Self:
        """A ratio from `n` paired blocks (`statistics.paired_ratio`), in logarithms; its limit is one too."""
        tested = (math.log(ci95[0]), math.log(ci95[1])) if n > 1 and ci95[0] > 0 else None
        return cls(math.log(value), tested, n, peeked=True)

    @classmethod
    def of_logs(cls, logs: Sequence[float] | Array) -> Self:
        """The mean of n log ratios of paired blocks, (n,), with Student's interval."""
        from scipy import special

        data = np.asarray(logs, dtype=np.float64)
        centre = float(data.mean())
        if data.size < 2:
            return cls(centre, None, int(data.size), peeked=True)
        half = float(data.std(ddof=1)) / math.sqrt(data.size) * float(special.stdtrit(data.size - 1, 1 - LEVEL))
        return cls(centre, (centre - half, centre + half), int(data.size), peeked=True)

    @property
    def tested(self) -> bool:
        """Whether there is an interval, without which nothing is shown."""
        return self.ci95 is not None and self.n > 1 and all(map(math.isfinite, self.ci95))


@dataclass(frozen=True, slots=True)
class Claim:
    """That each of the values is at least the limit, in the unit of the values."""

    evidence: tuple[Evidence, ...]
    limit: float

    def __post_init__(self) -> None:
        """Raise UsageError where there is nothing to be judged, or the limit is not finite."""
        if not self.evidence or not math.isfinite(self.limit):
            raise UsageError(f"a limit is a finite number for at least one value, found {self.limit}.")


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one claim among `checks` that were tested together.

    `p_held` is the p-value of the test that shows the limit to be held (PASS where it is at most α), `p_broken` of that
    which shows it not to be (FAIL), both as adjusted by Holm; None where nothing could be tested. `alone` is what the
    95 % intervals by themselves say, which the outcome is never stricter to either side than. `index` is the value that
    decided, or the one that is furthest from it. `enough` is the number of images or blocks in all that would decide
    an inconclusive one with a chance of 80 %, if the truth is what was estimated; infinite where it lies at the limit.
    """

    outcome: Outcome
    alone: Outcome
    checks: int
    index: int = 0
    p_held: float | None = None
    p_broken: float | None = None
    enough: float | None = None


def decide(claims: Sequence[Claim], level: float = LEVEL) -> tuple[Decision, ...]:
    """The outcomes of claims that are judged together, in their order, corrected for their number.

    `level` is the family-wise error to each side. Claims without an interval are INCONCLUSIVE and do not count.
    Raises UsageError where the level is not between 0 and a half.
    """
    if not 0 < level < 0.5:
        raise UsageError(f"the level of a test lies between 0 and 0.5, found {level}.")
    tested = [number for number, claim in enumerate(claims) if any(one.tested for one in claim.evidence)]
    raw_held = [[p_held(one, claims[number].limit) for one in claims[number].evidence] for number in tested]
    raw_broken = [[p_broken(one, claims[number].limit) for one in claims[number].evidence] for number in tested]
    held = holm([max(values) for values in raw_held])
    broken = holm([min(1.0, len(values) * min(values)) for values in raw_broken])
    found = [Decision(Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, len(tested)) for _ in claims]
    for place, number in enumerate(tested):
        claim = claims[number]
        alone = _alone(claim)
        passes = alone is Outcome.PASS and held[place] <= level * _ROUNDING
        fails = alone is Outcome.FAIL and broken[place] <= level * _ROUNDING
        outcome = Outcome.PASS if passes else Outcome.FAIL if fails else Outcome.INCONCLUSIVE
        # The value that is shown least to be held, or most not to be.
        index = int(np.argmin(raw_broken[place])) if fails else int(np.argmax(raw_held[place]))
        enough = None
        if outcome is Outcome.INCONCLUSIVE:
            enough = _enough(claim, level, _factor(held, place), _factor(broken, place))
        found[number] = Decision(outcome, alone, len(tested), index, held[place], broken[place], enough)
    return tuple(found)


def decide_ratio(logs: Sequence[float] | Array, limit: float, level: float = LEVEL) -> Decision:
    """Whether a ratio is at least `limit` (> 0), from log ratios of paired blocks (n,), to be called after any block.

    It may be asked as often as one likes, and measuring may end with the first outcome that is not INCONCLUSIVE: over
    all looks together at most `level` of those whose ratio is held fail, and at most `level` of the others pass.
    From two blocks on it could; seven are wise, as the noise of blocks is not known before.
    Raises UsageError where the limit is not positive.
    """
    if not (math.isfinite(limit) and limit > 0):
        raise UsageError(f"the limit of a ratio is a positive number, found {limit}.")
    (found,) = decide([Claim((Evidence.of_logs(logs),), math.log(limit))], level)
    return found


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted by Holm's procedure, in their order: one that is at most α is rejected at family-wise level α.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return tuple(adjusted)


def p_held(found: Evidence, limit: float) -> float:
    """Of data as good as these where the value is below the limit: the test that the limit is held."""
    return _p_value(found, found.value - limit, 0, found.value >= limit)


def p_broken(found: Evidence, limit: float) -> float:
    """Of data as bad as these where the value is at least the limit: the test that the limit is not held."""
    return _p_value(found, limit - found.value, 1, found.value < limit)


def _p_value(found: Evidence, distance: float, bound: int, on_this_side: bool) -> float:
    if found.ci95 is None or not found.tested:
        return 1.0
    from scipy import special

    # The bound that faces the limit, so that with one check the outcome is that of the interval.
    spread = abs(found.value - found.ci95[bound])
    if spread == 0:
        return 0.0 if on_this_side else 1.0
    t = distance / spread * float(special.stdtrit(found.n - 1, 1 - LEVEL))
    return (_anytime if found.peeked else _student)(found.n, t)


def _student(n: float, t: float) -> float:
    from scipy import special

    return float(special.stdtr(n - 1, -t))


def _anytime(n: float, t: float) -> float:
    """The p-value of t from n blocks that is valid at whatever n one stopped.

    1 / (2 E) with E the likelihood ratio of n normal values with unknown variance, mixed over standardised effects
    N(0, 1/c): a martingale where the effect is 0 (Lai, "On Confidence Sequences", Annals of Statistics 4(2), 1976; in
    this form Wang & Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance",
    Sequential Analysis 44(1), 2025), so that it ever exceeds 1/(2α) with probability 2α at most (Ville), half of that,
    by symmetry, with t > 0.
    """
    if t <= 0 or n < 2:
        return 1.0
    c = 1 / _EXPECTED
    square = t * t / (n - 1)
    log_e = 0.5 * math.log(c / (n + c)) + n / 2 * (math.log1p(square) - math.log1p(c / (n + c) * square))
    return min(1.0, 0.5 * math.exp(-min(log_e, 700.0)))


def _alone(claim: Claim) -> Outcome:
    outcomes = [at_least(one.ci95, claim.limit) for one in claim.evidence]
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE if Outcome.INCONCLUSIVE in outcomes else Outcome.PASS


def _factor(adjusted: Sequence[float], place: int) -> int:
    """What Holm's procedure multiplies this p-value with."""
    return sum(value >= adjusted[place] for value in adjusted)


def _enough(claim: Claim, level: float, held: int, broken: int) -> float | None:
    """How many images or blocks would decide the claim: by a value that fails, or else by all passing."""
    below = [one for one in claim.evidence if one.tested and one.value < claim.limit]
    if below:
        return min(_needed(one, claim.limit, level / broken / len(claim.evidence)) for one in below)
    if not all(one.tested for one in claim.evidence):
        return None
    return max(_needed(one, claim.limit, level / held) for one in claim.evidence)


def _needed(found: Evidence, limit: float, level: float) -> float:
    """The smallest n at which the test at this level decides with `CHANCE`, if the estimate is the truth."""
    from scipy import special

    assert found.ci95 is not None
    half = (found.ci95[1] - found.ci95[0]) / 2
    spread = half / float(special.stdtrit(found.n - 1, 1 - LEVEL)) * math.sqrt(found.n)
    effect = abs(found.value - limit)
    if effect <= 1e-9 * spread or not math.isfinite(effect):
        return math.inf
    test: Callable[[float, float], float] = _anytime if found.peeked else _student
    lucky = float(special.ndtri(CHANCE))

    def decides(n: int) -> bool:
        return test(n, effect / spread * math.sqrt(n) - lucky) <= level if spread else True

    low, high = found.n, found.n + 1
    while not decides(high):
        if high > MOST * found.n:
            return math.inf
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def needed(claim: Claim, found: Decision, unit: str, seconds: float | None = None) -> str | None:
    """What would decide an inconclusive claim, in words; None where it is decided.

    `unit` is what the evidence counts ("images", "blocks"); with `seconds` for one, what more of them would take.
    """
    if found.outcome is not Outcome.INCONCLUSIVE:
        return None
    n = claim.evidence[found.index].n
    if found.enough is None:
        return f"more {unit}: one or none shows nothing" if n < 2 else f"{unit} of which the value is a number"
    if math.isinf(found.enough):
        return f"the estimate lies at the limit: {MOST} times as many {unit} would not decide"
    if seconds is None:
        return f"about {_rounded(found.enough)} {unit} in all would decide"
    more = max(1, math.ceil(found.enough - n))
    return f"about {_rounded(more)} more {unit} ({_duration(more * seconds)}) would decide"


def _rounded(count: float) -> str:
    """Two significant digits, upwards."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return f"{math.ceil(count / unit) * unit:,}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def of_estimate(found: Estimate) -> Evidence:
    """The evidence of a difference (`statistics.paired_bootstrap`), in its own unit."""
    return Evidence(found.value, found.ci95, found.n)
