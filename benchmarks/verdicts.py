"""Limits of a report's rows, and the checks that they become once all of a verdict are decided together.

A limit that data are tested against is a `Tested`; one that is compared with a number is a `Check` from the start.
`settle` decides the first (`decisions.decide`, with its correction for how many they are) and leaves the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.decisions import Claim, Decision, Evidence, decide, needed
from visiondeploy.benchmarks.report.measured import Likeness
from visiondeploy.benchmarks.report.schema import Check, Quality, Row
from visiondeploy.types import Outcome

_INCONCLUSIVE = Outcome.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Tested:
    """A limit, what was found in words for each value of the claim, and the claim.

    `unit` is what the evidence counts, `seconds` how long one more takes, where that is known.
    """

    name: str
    limit: str
    found: tuple[str, ...]
    claim: Claim
    unit: str = "images"
    seconds: float | None = None


def settle(limits: Iterable[Check | Tested]) -> list[Check]:
    """The checks of one verdict, in order; the tests among them are corrected for their number."""
    given = list(limits)
    tested = [one for one in given if isinstance(one, Tested)]
    decided = iter(decide([one.claim for one in tested]))
    return [_check(one, next(decided)) if isinstance(one, Tested) else one for one in given]


def _check(tested: Tested, decision: Decision) -> Check:
    return Check(
        name=tested.name,
        limit=tested.limit,
        found=tested.found[decision.index] + _short(tested, decision),
        status=decision.outcome,
        p_value=decision.p_held,
        needed=needed(tested.claim, decision, tested.unit, tested.seconds),
    )


def _short(tested: Tested, decision: Decision) -> str:
    """Why an interval that clears the limit, or lies wholly beyond it, does not decide."""
    if decision.outcome is decision.alone:
        return ""
    many = []
    if decision.checks > 1:
        many.append(f"{decision.checks} checks at once")
    if len(tested.claim.evidence) > 1 and decision.alone is Outcome.FAIL:
        many.append(f"the worst of {len(tested.claim.evidence)}")
    if tested.claim.evidence[0].peeked:
        many.append("a series that was looked at while it was measured")
    side = "clears the limit" if decision.alone is Outcome.PASS else "lies beyond the limit"
    return f", which {side}, but not by enough for {' and '.join(many) or 'a test'}"


def quality_limit(name: str, quality: Quality, margin: float) -> Tested:
    """A metric is at most `margin` worse than the baseline's: in points, or where smaller is better in percent."""
    gain, interval = quality.gain
    # A loss is spoken of by how it changed: up is worse.
    turn, unit, word = (-1.0, "%", "above") if quality.smaller else (1.0, "points", "below")
    found = f"{gain * turn:+.2f} {unit} on a single image"
    if interval is not None:
        low, high = sorted(bound * turn for bound in interval)
        found = f"{gain * turn:+.2f} {unit}, 95 % interval {low:+.2f} to {high:+.2f}"
    limit = f"at most {margin:g} {unit} {word} the baseline"
    return Tested(f"{name}: {quality.metric}", limit, (found,), Claim((Evidence(gain, interval, quality.n),), -margin))


def parts_limit(name: str, quality: Quality, margin: float) -> Check | Tested:
    """No part of a metric of which more is better (no class) is more than `margin` points below the baseline's.

    Classes that either side has no value of are not judged. Of one that is in a single image nothing can be shown.
    """
    title, limit = f"{name}: worst {quality.part}", f"no {quality.part} more than {margin:g} points below the baseline"
    evidence: list[Evidence] = []
    found: list[str] = []
    for part, one in quality.per_class.items():
        if one.value is None or one.baseline is None:
            continue
        change = (one.value - one.baseline) * 100
        interval = None if one.ci95 is None else (one.ci95[0] * 100, one.ci95[1] * 100)
        evidence.append(Evidence(change, interval, one.n or 1))
        said = "too few images for an interval"
        if interval is not None:
            said = f"95 % interval {interval[0]:+.2f} to {interval[1]:+.2f}"
        found.append(f"{part} {change:+.2f} points, {said}")
    if not evidence:
        return Check(name=title, limit=limit, found="not measured", status=_INCONCLUSIVE)
    return Tested(title, limit, tuple(found), Claim(tuple(evidence), -margin))


def likeness_limit(name: str, measure: str, found: Likeness, limit: float) -> Tested:
    """Pictures are like the baseline's own by at least this much."""
    said = f"{found.value:.4f} on {found.n} images" + (
        f", 95 % interval {found.ci95[0]:.4f} to {found.ci95[1]:.4f}" if found.ci95 else ""
    )
    evidence = Evidence(found.value, found.ci95, found.n)
    return Tested(f"{name}: {measure}", f"at least {limit:g}", (said,), Claim((evidence,), limit))


def speedup_limit(row: Row, limit: float, seconds: float | None = None) -> Check | Tested:
    """The row is at least `limit` times as fast as the baseline; `seconds` is what one block of all rows takes."""
    title, said = f"{row.name}: speed-up", f"at least {limit:g}× the baseline's speed"
    found = row.speedup
    if found is None:
        return Check(name=title, limit=said, found="not measured", status=_INCONCLUSIVE)
    low, high = found.ci95
    text = f"{found.value:.3g}×, 95 % interval {low:.3g} to {high:.3g}"
    claim = Claim((Evidence.of_ratio(found.value, found.ci95, found.blocks),), math.log(limit))
    return Tested(title, said, (text,), claim, "blocks", seconds)


def block_seconds(rows: Sequence[Row]) -> float | None:
    """What one block of all rows took, in seconds, from their timed runs; None where they were not kept."""
    total = 0.0
    for latency in (row.latency_ms for row in rows):
        if latency is not None and latency.raw and latency.blocks:
            total += math.fsum(latency.raw) / 1000 / len(latency.blocks)
    return total or None
