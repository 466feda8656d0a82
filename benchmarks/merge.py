"""Two reports of the same engines on the same machine, taken together as one with more blocks.

Blocks of one run are paired, each with the baseline's own, so runs are pooled block by block: nothing is compared
across runs. That is only right where both runs measured the same thing in the same way. As pyperf refuses to add runs
whose metadata differ (`Benchmark.add_runs`), so is here all that can make a time another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from visiondeploy.benchmarks.latency import noise_of
from visiondeploy.benchmarks.report.measured import Activity, Latency, Noise, Speedup
from visiondeploy.benchmarks.report.schema import Environment, Report, Row
from visiondeploy.benchmarks.statistics import paired_ratio, percentiles
from visiondeploy.errors import EnvironmentMismatch, InputError

# What differs from run to run on one machine, and is told of each.
_OF_THE_RUN = ("gpus", "activity")

# What makes a row the same row. Layers and sizes follow from the engine's digest, and serve where there is none.
_OF_THE_ROW = ("model", "backend", "precision", "status", "digest", "parameters", "size_bytes", "realised", "stored")

_SHOWN = 3


def merged(earlier: Report, later: Report) -> Report:
    """The later report, its latencies, speed-ups and noise taken together with the earlier one's.

    Quality, scenarios and profiles are the later run's, where it has them; the peak of memory is the higher. The
    verdict is the later one's still, which is the caller's to make anew.

    Raises EnvironmentMismatch where the machines, tools or ways of measuring differ, InputError where the rows do;
    both name the first differences.
    """
    refuse_other_machine(earlier.environment, later.environment)
    found = list(row_differences(earlier.rows, later.rows))
    if found:
        raise InputError(
            f"the runs cannot be pooled, their engines are not the same: {_first(found)}. Bench the same builds again."
        )
    found = list(_way_differences(earlier.rows, later.rows))
    if found:
        raise EnvironmentMismatch(f"the runs cannot be pooled, they were measured in other ways: {_first(found)}.")
    latencies = [_latencies(one, other) for one, other in zip(earlier.rows, later.rows, strict=True)]
    rows = tuple(
        _row(one, other, latency, latencies[0])
        for one, other, latency in zip(earlier.rows, later.rows, latencies, strict=True)
    )
    machine = later.environment.model_copy(
        update={"activity": _activity(earlier.environment.activity, later.environment.activity)}
    )
    notes = dict.fromkeys((*later.notes, *earlier.notes, _said(earlier, later)))
    update = {"rows": rows, "environment": machine, "noise": _noise(earlier.noise, later.noise), "notes": tuple(notes)}
    return later.model_copy(update=update)


def refuse_other_machine(earlier: Environment, later: Environment) -> None:
    """Raise EnvironmentMismatch where the machines or their tools differ; it names the first differences."""
    found = list(environment_differences(earlier, later))
    if found:
        raise EnvironmentMismatch(
            f"the runs cannot be pooled, their environments differ: {_first(found)}. Measure both on the same machine "
            "with the same tools and settings, or compare them as two reports."
        )


def environment_differences(one: Environment, other: Environment) -> Iterator[str]:
    """What differs between two machines or their tools, each in a few words ("threads 2 and 4")."""
    for name in type(one).model_fields:
        if name not in _OF_THE_RUN:
            yield from _differences(name, getattr(one, name), getattr(other, name))


def row_differences(one: Sequence[Row], other: Sequence[Row]) -> Iterator[str]:
    """What differs between the engines of two reports."""
    names, others = [row.name for row in one], [row.name for row in other]
    if names != others:
        yield f"rows {', '.join(names)} and {', '.join(others)}"
        return
    for before, after in zip(one, other, strict=True):
        for field in _OF_THE_ROW:
            yield from _differences(f"{before.name} {field}", getattr(before, field), getattr(after, field))
        for field in ("quality", "agreement"):
            counts = [getattr(getattr(row, field), "n", None) for row in (before, after)]
            yield from _differences(f"{before.name} images of {field}", *counts)


def _way_differences(one: Sequence[Row], other: Sequence[Row]) -> Iterator[str]:
    for before, after in zip(one, other, strict=True):
        if before.latency_ms is not None and after.latency_ms is not None:
            isolated = before.latency_ms.isolated, after.latency_ms.isolated
            yield from _differences(f"{before.name} in a process of its own", *isolated)


def _differences(name: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            if one.get(key) != other.get(key):
                yield f"{key} {_shown(one.get(key))} and {_shown(other.get(key))}"
    elif one != other:
        yield f"{name} {_shown(one)} and {_shown(other)}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _first(found: Sequence[str]) -> str:
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _latencies(one: Row, other: Row) -> Latency | None:
    """All runs of a row; None where a run of it has none."""
    before, after = one.latency_ms, other.latency_ms
    if before is None or after is None:
        return None
    for latency in (before, after):
        if len(latency.raw) != latency.n or not latency.blocks:
            raise InputError(f"the runs cannot be pooled: the raw values of {one.name} are not in the report.")
    raw = (*before.raw, *after.raw)
    found = percentiles(raw)
    return after.model_copy(
        update={
            "p50": found.p50,
            "p90": found.p90,
            "p99": found.p99,
            "n": found.n,
            "raw": raw,
            "blocks": (*before.blocks, *after.blocks),
            "warmups": before.warmups + after.warmups,
            "settled": before.settled and after.settled,
            "stopped": after.stopped if after.stopped == before.stopped else None,
        }
    )


def _row(one: Row, other: Row, latency: Latency | None, baseline: Latency | None) -> Row:
    update: dict[str, Any] = {
        "scenarios": other.scenarios or one.scenarios,
        "profile": other.profile or one.profile,
        "notes": tuple(dict.fromkeys((*other.notes, *one.notes))),
        "peak_rss_bytes": max((peak for peak in (one.peak_rss_bytes, other.peak_rss_bytes) if peak), default=None),
    }
    if latency is not None and baseline is not None:
        ratio = paired_ratio(baseline.blocks, latency.blocks)
        update |= {
            "latency_ms": latency,
            "speedup": Speedup(value=ratio.value, ci95=ratio.ci95, blocks=ratio.n),
        }
    return other.model_copy(update=update)


def _noise(one: Noise | None, other: Noise | None) -> Noise | None:
    ratios = [*(one.ratios if one else ()), *(other.ratios if other else ())]
    return noise_of(ratios) if len(ratios) > 1 else other or one


def _activity(one: Activity | None, other: Activity | None) -> Activity | None:
    if one is None or other is None:
        return one or other
    total = (one.seconds + other.seconds) or 1.0

    def mean(before: float | None, after: float | None) -> float | None:
        if before is None or after is None:
            return None
        return (before * one.seconds + after * other.seconds) / total

    return Activity(
        seconds=one.seconds + other.seconds,
        others=mean(one.others, other.others),
        stolen=mean(one.stolen, other.stolen),
        waiting=mean(one.waiting, other.waiting),
        load=(one.load[0], other.load[1]) if one.load and other.load else None,
    )


def _said(earlier: Report, later: Report) -> str:
    counts = [
        len(report.baseline.latency_ms.blocks) if report.baseline.latency_ms else 0 for report in (earlier, later)
    ]
    return f"pooled: {counts[0]} blocks of an earlier run and {counts[1]} of this one."
