"""Latency of several callables against one of them, in shuffled blocks of one run.

Why blocks: clocks, neighbours and temperature drift over seconds, and two series taken one after the
other differ by that drift. In each block every contender runs for about the same time, in an order that
is drawn anew, so that drift meets all alike and each block gives one paired ratio. Why not alternate
single inferences: caches and the waiting thread pools of one runtime slow the next one's first run, which
is why the first run of each contender in each block is not timed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from visiondeploy.benchmarks.report import measured
from visiondeploy.benchmarks.statistics import Estimate, Percentiles, paired_ratio, percentiles
from visiondeploy.errors import UsageError
from visiondeploy.types import Seed, Settings

Clock = Callable[[], int]


class LatencySettings(Settings):
    """How long and how finely to measure. Times are in seconds."""

    seconds: Annotated[float, Field(gt=0)] = 60.0
    """For the blocks of all contenders together, warm-up aside. `min_blocks` are run even if it takes longer."""
    min_blocks: Annotated[int, Field(ge=2)] = 7
    max_blocks: Annotated[int, Field(ge=2)] = 60
    block_seconds: Annotated[float, Field(gt=0)] = 0.5
    """What one contender's part of a block should last; one inference at least."""
    max_runs: Annotated[int, Field(ge=1)] = 1_000
    """Timed runs of one contender in one block, at most, so that raw values of short runs stay few enough to keep."""
    relative_width: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Stop when half of every speed-up's 95 % interval is at most this share of the speed-up."""
    warmup_seconds: Annotated[float, Field(gt=0)] = 10.0
    """For one contender, at most; three runs at least."""
    warmup_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    seed: Seed = 0

    @model_validator(mode="after")
    def _blocks_in_order(self) -> Self:
        if self.max_blocks < self.min_blocks:
            raise ValueError(f"max_blocks is at least min_blocks, found {self.max_blocks} and {self.min_blocks}")
        return self


class Stopped(StrEnum):
    """Why no further block was run."""

    PRECISE = "precise"
    BUDGET = "budget"
    MAX_BLOCKS = "max-blocks"


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """One contender's runs. Times are in milliseconds.

    `raw` has every timed run in order, none left out: `runs_per_block` from each block, whose medians
    are `blocks`. `warmups` counts runs that were not timed for the result, `settled` is False where
    the warm-up's time ran out before runs were steady. The baseline's `speedup` is 1.
    """

    raw: tuple[float, ...]
    blocks: tuple[float, ...]
    runs_per_block: int
    warmups: int
    settled: bool
    percentiles: Percentiles
    speedup: Estimate
    stopped: Stopped

    def as_latency(self) -> measured.Latency:
        """The report's `latency_ms`."""
        found = self.percentiles
        return measured.Latency(
            p50=found.p50,
            p90=found.p90,
            p99=found.p99,
            n=found.n,
            raw=self.raw,
            warmups=self.warmups,
            settled=self.settled,
            blocks=self.blocks,
            stopped=self.stopped.value,
        )

    def as_speedup(self) -> measured.Speedup:
        """The report's `speedup`."""
        return measured.Speedup(value=self.speedup.value, ci95=self.speedup.ci95, blocks=self.speedup.n)


@dataclass(slots=True)
class _Contender:
    call: Callable[[], object]
    warmups: int
    settled: bool
    runs_per_block: int
    raw_ns: list[int]
    blocks_ns: list[float]


def measure(
    contenders: Mapping[str, Callable[[], object]],
    baseline: str,
    settings: LatencySettings,
    *,
    progress: Callable[[int, int], None] | None = None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, LatencyResult]:
    """Measure all contenders against `baseline`, which is one of them, each a call that runs one inference.

    Each is warmed up until steady (`_warm_up`). Then blocks follow until every speed-up is precise
    enough, the time is used, or `max_blocks` are done, but `min_blocks` in any case. With the baseline
    alone there is no speed-up to be precise about, and the time is used. The precision is looked at after
    each block, so that the number of blocks depends on what was seen; for long series that does no harm
    (Chow & Robbins, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals", Annals of
    Mathematical Statistics 36(2), 1965), for ours it costs the 95 % interval 1 to 4 points of coverage
    in simulation. Set `min_blocks` equal to `max_blocks` where that matters.

    A run is timed from the call to its return; freeing what it returned is not. Python's garbage
    collector is off meanwhile. `progress` is called with blocks done and `max_blocks`; `clock` returns
    nanoseconds. Thread counts are the caller's to set, equal for all.

    Raises UsageError where the baseline is not among the contenders or a call is too short for the clock;
    what a contender raises is passed on.
    """
    if baseline not in contenders:
        raise UsageError(
            f"the baseline {baseline!r} is not measured, only: {', '.join(sorted(contenders)) or 'nothing'}."
        )
    with _garbage_collector_off():
        field = {name: _prepare(call, settings, clock) for name, call in contenders.items()}
        stopped = _run_blocks(field, baseline, settings, progress, clock)
    speedups = _speedups(field, baseline, settings)
    return {name: _result(contender, speedups[name], stopped) for name, contender in field.items()}


def _run_blocks(
    field: dict[str, _Contender],
    baseline: str,
    settings: LatencySettings,
    progress: Callable[[int, int], None] | None,
    clock: Clock,
) -> Stopped:
    order = np.random.default_rng(settings.seed)
    names = list(field)
    began = clock()
    for block in range(1, settings.max_blocks + 1):
        gc.collect()
        for index in order.permutation(len(names)):
            _run_block(field[names[index]], clock)
        if progress is not None:
            progress(block, settings.max_blocks)
        if block < settings.min_blocks:
            continue
        if len(field) > 1 and _precise(_speedups(field, baseline, settings), settings):
            return Stopped.PRECISE
        if clock() - began >= settings.seconds * 1e9:
            return Stopped.BUDGET
    return Stopped.MAX_BLOCKS


def _run_block(contender: _Contender, clock: Clock) -> None:
    _time(contender.call, clock)
    contender.warmups += 1
    runs = [_time(contender.call, clock) for _ in range(contender.runs_per_block)]
    contender.raw_ns += runs
    contender.blocks_ns.append(float(np.median(runs)))


def _time(call: Callable[[], object], clock: Clock) -> int:
    start = clock()
    kept = call()
    stop = clock()
    del kept  # freed here and not inside the next run
    return stop - start


def _prepare(call: Callable[[], object], settings: LatencySettings, clock: Clock) -> _Contender:
    runs, settled = _warm_up(call, settings, clock)
    expected = max(float(np.median(runs[-3:])), 1.0)
    fitting = round(settings.block_seconds * 1e9 / expected)
    return _Contender(call, len(runs), settled, min(max(fitting, 1), settings.max_runs), [], [])


def _warm_up(call: Callable[[], object], settings: LatencySettings, clock: Clock) -> tuple[list[int], bool]:
    """Run until steady: the durations in nanoseconds, and whether they became steady.

    Steady is when the medians of the last three runs and of the three before differ by at most
    `warmup_tolerance`, after a tenth of `block_seconds` at the least, as very short runs would agree by
    chance before clocks have risen. It ends unsteady once `warmup_seconds` are over.
    """
    began = clock()
    runs: list[int] = []
    while True:
        runs.append(_time(call, clock))
        spent = (clock() - began) / 1e9
        if len(runs) >= 6 and spent >= settings.block_seconds / 10:
            last, before = float(np.median(runs[-3:])), float(np.median(runs[-6:-3]))
            if abs(last - before) <= settings.warmup_tolerance * before:
                return runs, True
        if len(runs) >= 3 and spent >= settings.warmup_seconds:
            return runs, False


def _speedups(field: dict[str, _Contender], baseline: str, settings: LatencySettings) -> dict[str, Estimate]:
    reference = field[baseline].blocks_ns
    found = {
        name: paired_ratio(reference, contender.blocks_ns, seed=settings.seed)
        for name, contender in field.items()
        if name != baseline
    }
    return {baseline: Estimate(1.0, (1.0, 1.0), len(reference)), **found}


def _precise(speedups: Mapping[str, Estimate], settings: LatencySettings) -> bool:
    return all(
        (found.ci95[1] - found.ci95[0]) / 2 <= settings.relative_width * found.value for found in speedups.values()
    )


def _result(contender: _Contender, speedup: Estimate, stopped: Stopped) -> LatencyResult:
    raw = tuple(run / 1e6 for run in contender.raw_ns)
    return LatencyResult(
        raw=raw,
        blocks=tuple(block / 1e6 for block in contender.blocks_ns),
        runs_per_block=contender.runs_per_block,
        warmups=contender.warmups,
        settled=contender.settled,
        percentiles=percentiles(raw),
        speedup=speedup,
        stopped=stopped,
    )


@contextmanager
def _garbage_collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
