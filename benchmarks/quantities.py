"""Each quantity of a suite judged for one row: what was found, and whether the limit holds.

A number that is exact (bytes, layers) or that is of these very images (the metric itself, the share of pixels) is
compared as it is. A change of a metric and all that is made of times has an interval, and passes only where the whole
of it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from visiondeploy.benchmarks.case import CannotHold, Case, NotJudged
from visiondeploy.benchmarks.decisions import Claim, Evidence
from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.report.cells import number, size
from visiondeploy.benchmarks.report.measured import Latency, Speedup
from visiondeploy.benchmarks.report.schema import Quality, Row
from visiondeploy.benchmarks.statistics import Estimate, Interval, minimum_runs, paired_ratio
from visiondeploy.benchmarks.suite import Limit, MeasureSettings
from visiondeploy.benchmarks.tails import QUANTILES, tail, tail_ratio
from visiondeploy.errors import InputError, UsageError
from visiondeploy.types import Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a limit, in words, and what it comes to. `needed` says what would decide it."""

    found: str
    status: Outcome
    needed: str | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """What was found in words for each value of a claim that is to be tested together with all others of a verdict.

    `unit` is what the values come from, "images" or "blocks".
    """

    found: tuple[str, ...]
    claim: Claim
    unit: str


Judge = Callable[[Limit, Row, Case, MeasureSettings], Finding | Open]

_UNITS = {"sqnr": " dB", "p50": " ms", "p90": " ms", "p99": " ms", "speedup": "×", "off-precision": " layers"}


def judge(limit: Limit, row: Row, case: Case, measure: MeasureSettings) -> Finding | Open:
    """One limit for one row that was measured. Raises `NotJudged` and `CannotHold`."""
    known = _JUDGES.get(limit.quantity)
    if known is None:
        known = _likeness if limit.quantity in row.likeness else _metric
    return known(limit, row, case, measure)


def wording(limit: Limit) -> str:
    """The bound as people read it: "at most 0.5 points below the baseline"."""
    value = f"{limit.value:g}"
    whom = f"the {limit.compared_with}" + ("'s" if limit.bound == "max_ratio" else "")
    if limit.bound in {"min", "max"}:
        word = "at least" if limit.bound == "min" else "at most"
        return f"{word} {_absolute(limit)}"
    return {
        "max_drop": f"at most {value} points below {whom}",
        "max_rise": f"at most {value} % above {whom}",
        "max_ratio": f"at most {value}× {whom}",
        "max_slowdown": f"at most {value} % slower than {whom}",
    }[limit.bound]


def _absolute(limit: Limit) -> str:
    if limit.quantity == "agreement":
        return f"{limit.value:.2%} of pixels"
    if limit.quantity in {"size", "memory"}:
        return size(round(limit.value))
    return f"{limit.value:g}{_UNITS.get(limit.quantity, '')}"


def _metric(limit: Limit, row: Row, case: Case, *_: object) -> Finding | Open:
    """The metric itself as it is on these images; its change with the paired interval."""
    against = limit.compared_with
    if against is None:
        found = case.metric(row, limit.quantity)
        return Finding(f"{found.value:.4f} on {found.n} images", _within(limit, found.value))
    changed = case.quality(row, limit.quantity, against)
    _check_direction(limit, changed)
    return _change(changed, limit.value)


def _check_direction(limit: Limit, quality: Quality) -> None:
    if quality.smaller != (limit.bound == "max_rise"):
        better, wanted = ("less", "max_rise") if quality.smaller else ("more", "max_drop")
        raise CannotHold(f"of {quality.metric} {better} is better, so that it is limited by {wanted}, in the suite")


def _change(quality: Quality, margin: float) -> Open:
    """A loss against a margin, in points, or in percent where less is better."""
    gain, interval = quality.gain
    turn, unit = (-1.0, "%") if quality.smaller else (1.0, "points")
    said = f"{signed(gain * turn)} {unit} on a single image"
    if interval is not None:
        low, high = sorted(bound * turn for bound in interval)
        said = f"{signed(gain * turn)} {unit}, 95 % interval {signed(low)} to {signed(high)}, {quality.n} images"
    return Open((said,), Claim((Evidence(gain, interval, quality.n),), -margin), "images")


def _worst_class(limit: Limit, row: Row, case: Case, *_: object) -> Finding | Open:
    """The smallest value of a class as it is; or that no class lost more, which is tested of each."""
    quality = case.metric(row, limit.metric)
    against = limit.compared_with
    if against is None:
        values = {name: each.value for name, each in quality.per_class.items() if each.value is not None}
        if not values:
            raise CannotHold(f"{quality.metric} has no value by {quality.part}")
        worst = min(values, key=values.__getitem__)
        return Finding(f"{values[worst]:.4f} ({worst})", _within(limit, values[worst]))
    if quality.smaller:
        raise CannotHold(f"of {quality.metric} less is better, so that nothing of it can drop")
    changes: dict[str, Evidence] = {}
    for name, one in case.quality(row, limit.metric, against).per_class.items():
        if one.value is not None and one.baseline is not None:
            interval = None if one.ci95 is None else (one.ci95[0] * 100, one.ci95[1] * 100)
            changes[name] = Evidence((one.value - one.baseline) * 100, interval, one.n or 1)
    if not changes:
        raise CannotHold(f"{quality.metric} has no value by {quality.part} on both sides")
    return Open(
        tuple(_of_class(name, change) for name, change in changes.items()),
        Claim(tuple(changes.values()), -limit.value),
        "images",
    )


def _of_class(name: str, change: Evidence) -> str:
    interval = "too few images for an interval"
    if change.ci95 is not None:
        interval = f"95 % interval {signed(change.ci95[0])} to {signed(change.ci95[1])}"
    return f"{signed(change.value)} points ({name}), {interval}"


def _speedup(limit: Limit, row: Row, case: Case, *_: object) -> Finding | Open:
    found = row.speedup
    if found is None:
        raise NotJudged("its speed-up was not measured")
    if limit.compared_with is None:
        return _ratio(f"{number(found.value)}× {_times(found.ci95)}", _estimate(found), limit.value)
    if limit.compared_with == "base":
        base = case.base_of(row)
        return _slower(_in_turns(_latency(base), _latency(row)), limit)
    before = case.referred(row).speedup
    reference = case.reference
    if before is None or reference is None:
        raise NotJudged("the reference has no speed-up of it", "a new reference (--update) would decide")
    elsewhere = reference.elsewhere(case.report.environment)
    if elsewhere:
        raise NotJudged(f"not judged: {elsewhere}")
    # Both are over PyTorch in their own run; the two runs are independent, so that variances of logarithms add.
    width = math.hypot(*(math.log(high / low) / 2 for low, high in (found.ci95, before.ci95)))
    value = found.value / before.value
    ratio = Estimate(value, (value * math.exp(-width), value * math.exp(width)), min(found.blocks, before.blocks))
    return _slower(ratio, limit)


def _estimate(found: Speedup) -> Estimate:
    return Estimate(found.value, found.ci95, found.blocks)


def _ratio(said: str, found: Estimate, limit: float) -> Open:
    """That a ratio from paired blocks is at least the limit."""
    return Open((said,), Claim((Evidence.of_ratio(found.value, found.ci95, found.n),), math.log(limit)), "blocks")


def _slower(speedup: Estimate, limit: Limit) -> Open:
    """A slow-down in percent: by how much one takes longer than before."""
    percent, low, high = ((1 / ratio - 1) * 100 for ratio in (speedup.value, speedup.ci95[1], speedup.ci95[0]))
    said = (
        f"{signed(percent)} % of time against the {limit.compared_with}, 95 % interval {signed(low)} to {signed(high)}"
    )
    return _ratio(said, speedup, 1 / (1 + limit.value / 100))


def _percentile(limit: Limit, row: Row, case: Case, measure: MeasureSettings) -> Finding | Open:
    name = limit.quantity
    quantile, latency = QUANTILES[name], _latency(row)
    if limit.compared_with is None:
        _check_machine(case, measure)
    other = None
    if limit.compared_with is not None:
        other = _latency(case.report.baseline if limit.compared_with == "baseline" else case.base_of(row))
    for each, whose in ((latency, "its"), (other, f"the {limit.compared_with}'s")):
        if each is not None and getattr(each, name) is None:
            enough = minimum_runs(quantile)
            raise NotJudged(
                f"{whose} {each.n} runs do not support {name}", f"{enough} runs (more --seconds) would decide"
            )
    if other is None:
        value = _has_runs(tail(latency, quantile))
        low, high = value.ci95
        said = f"{number(value.value)} ms, 95 % interval {number(low)} to {number(high)}"
        # To be at most the limit is that the limit is at least once as long.
        room = Estimate(limit.value / value.value, (limit.value / high, limit.value / low), value.n)
        return _ratio(said, room, 1.0)
    faster = _has_runs(tail_ratio(other, latency, quantile))
    if limit.bound == "max_slowdown":
        return _slower(faster, limit)
    ratio, interval = 1 / faster.value, (1 / faster.ci95[1], 1 / faster.ci95[0])
    return _ratio(f"{number(ratio)}× {_times(interval)}", faster, 1 / limit.value)


def _check_machine(case: Case, measure: MeasureSettings) -> None:
    """Raise `NotJudged` where an absolute time is not of the machine that it was set for."""
    here = fingerprint(case.report.environment)
    if measure.machine is None:
        raise NotJudged(
            "not judged: milliseconds are those of one machine, and the suite names none",
            f'measure.machine = "{here[:16]}" in the suite would decide, if they are for this one',
        )
    if not here.startswith(measure.machine):
        raise NotJudged(
            f"not judged: the limit is for the machine {measure.machine[:16]}, and this is {here[:16]}: milliseconds "
            "of two machines are not compared"
        )


def _bytes(limit: Limit, row: Row, case: Case, *_: object) -> Finding:
    field = {"size": "size_bytes", "memory": "peak_rss_bytes"}[limit.quantity]
    found: int | None = getattr(row, field)
    if found is None:
        raise NotJudged("it was not measured")
    if limit.compared_with is None:
        return Finding(size(found), _within(limit, found))
    others = {
        "baseline": lambda: case.report.baseline,
        "base": lambda: case.base_of(row),
        "reference": lambda: case.referred(row),
    }
    other: int | None = getattr(others[limit.compared_with](), field)
    if not other:
        raise NotJudged(f"it was not measured of the {limit.compared_with}")
    if limit.bound == "max_ratio":
        holds, said = found <= limit.value * other, f"{number(found / other)}× of {size(other)}"
    else:
        rise = (found / other - 1) * 100
        holds, said = rise <= limit.value, f"{signed(rise)} %, from {size(other)}"
    return Finding(f"{size(found)}, {said}", Outcome.PASS if holds else Outcome.FAIL)


def _agreement(limit: Limit, row: Row, *_: object) -> Finding:
    found = row.agreement
    if found is None:
        raise NotJudged("it was not measured")
    if not found.finite:
        return Finding("its outputs are NaN or infinite", Outcome.FAIL)
    if limit.quantity == "agreement":
        if found.pixels is None:
            raise NotJudged("the network has no classes that could agree")
        return Finding(f"{found.pixels:.2%} of pixels on {found.samples} images", _within(limit, found.pixels))
    if found.exact:
        return Finding("equal", Outcome.PASS)
    if found.outputs == "classes":
        raise NotJudged("class maps have no SQNR")
    if found.sqnr_db is None:
        return Finding("the baseline gives zeros alone", Outcome.FAIL)
    return Finding(f"{found.sqnr_db:.1f} dB on {found.samples} images", _within(limit, found.sqnr_db))


def _likeness(limit: Limit, row: Row, *_: object) -> Finding | Open:
    if limit.compared_with is not None:
        raise CannotHold(f"{limit.quantity} compares with the baseline itself, so that it is limited by min or max")
    found = row.likeness[limit.quantity]
    said = f"{found.value:.4f} on {found.n} image{'s' if found.n > 1 else ''}"
    if found.ci95 is not None:
        said += f", 95 % interval {found.ci95[0]:.4f} to {found.ci95[1]:.4f}"
    value, interval, bound = found.value, found.ci95, limit.value
    if limit.bound == "max":
        # To be at most a limit is to be at least it with the signs turned.
        value, bound = -value, -bound
        interval = None if interval is None else (-interval[1], -interval[0])
    return Open((said,), Claim((Evidence(value, interval, found.n),), bound), "images")


def _off_precision(limit: Limit, row: Row, *_: object) -> Finding:
    if not row.realised:
        raise NotJudged("the runtime names no layer")
    off = row.off_precision
    said = ", ".join(f"{count} in {kind}" for kind, count in off.items()) or f"all in {row.precision.value}"
    return Finding(said, _within(limit, sum(off.values())))


def _within(limit: Limit, value: float) -> Outcome:
    holds = value >= limit.value if limit.bound == "min" else value <= limit.value
    return Outcome.PASS if holds else Outcome.FAIL


def _latency(row: Row) -> Latency:
    if row.latency_ms is None:
        raise NotJudged(f"the latency of {row.name} was not measured")
    return row.latency_ms


def _in_turns(before: Latency, after: Latency) -> Estimate:
    try:
        return paired_ratio(before.blocks, after.blocks)
    except (UsageError, InputError):
        raise NotJudged("the two have no blocks that were run in turns: bench them in one run") from None


def _has_runs(found: Estimate | None) -> Estimate:
    if found is None:
        raise NotJudged("the single runs are not in the report: bench again")
    return found


def _times(interval: Interval) -> str:
    return f"(95 % interval {number(interval[0])} to {number(interval[1])})"


def signed(value: float) -> str:
    """Two decimals with a sign, a true minus."""
    return f"{value:+.2f}".replace("-", "−")


_JUDGES: dict[str, Judge] = {
    "worst-class": _worst_class,
    "speedup": _speedup,
    "p50": _percentile,
    "p90": _percentile,
    "p99": _percentile,
    "size": _bytes,
    "memory": _bytes,
    "agreement": _agreement,
    "sqnr": _agreement,
    "off-precision": _off_precision,
}
"""What judges a quantity; what is not in it is the name of a metric or of a measure of likeness."""
