"""Latency of several callables against one of them, in shuffled blocks of one run.

Why blocks: clocks, neighbours and temperature drift over seconds, and two series taken one after the
other differ by that drift. In each block every contender runs for about the same time, in an order that
is drawn anew, so that drift meets all alike and each block gives one paired ratio. Why not alternate
single inferences: caches and the waiting thread pools of one runtime slow the next one's first run, which
is why the first run of each contender in each block is not timed.

The baseline has a second turn in each block, as if it were one more contender. Its ratio to its own first turn (A/A) is
1 in truth, so that what is found instead is what the machine does to two that are equal.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from visiondeploy.benchmarks.report import measured
from visiondeploy.benchmarks.statistics import Estimate, Percentiles, paired_ratio, percentiles
from visiondeploy.benchmarks.steady import FEWEST, is_steady
from visiondeploy.errors import UsageError, VisionDeployError
from visiondeploy.types import Seed, Settings

Clock = Callable[[], int]


class Runner(Protocol):
    """What runs inferences when it is told to, and times each: this process, or one that holds the engine alone."""

    def run(self, count: int) -> Sequence[int]:
        """Nanoseconds of so many runs, one after the other."""
        ...


Contender = Callable[[], object] | Runner
"""A call that runs one inference, or a runner."""


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
    """Steady is what drifts by no more than this share; see `steady`."""
    noise: bool = True
    """Whether the baseline has a second turn in each block."""
    isolate: bool = True
    """Whether each engine is timed in a process of its own, where no other one's threads and memory are."""
    pin: bool = False
    """Whether those processes are bound to as many cores as they have threads, physical ones first."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _blocks_in_order(self) -> Self:
        if self.max_blocks < self.min_blocks:
            raise ValueError(f"max_blocks is at least min_blocks, found {self.max_blocks} and {self.min_blocks}")
        if self.pin and not self.isolate:
            raise ValueError("pin binds the processes of engines, so it needs isolate")
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
    the warm-up's time ran out before runs were steady. The baseline's `speedup` is 1, and it alone has `noise`.
    """

    raw: tuple[float, ...]
    blocks: tuple[float, ...]
    runs_per_block: int
    warmups: int
    settled: bool
    percentiles: Percentiles
    speedup: Estimate
    stopped: Stopped
    noise: measured.Noise | None = None

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
class _Entrant:
    """A contender on its way; the baseline's second turns are one of their own."""

    name: str
    runner: Runner
    warmups: int
    settled: bool
    runs_per_block: int
    raw_ns: list[int]
    blocks_ns: list[float]


OnFailure = Callable[[str, VisionDeployError], None]


def measure(
    contenders: Mapping[str, Contender],
    baseline: str,
    settings: LatencySettings,
    *,
    progress: Callable[[int, int], None] | None = None,
    clock: Clock = time.perf_counter_ns,
    on_failure: OnFailure | None = None,
) -> dict[str, LatencyResult]:
    """Measure all contenders against `baseline`, which is one of them.

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

    Raises UsageError where the baseline is not among the contenders or a call is too short for the clock. What a
    contender raises is passed on, unless `on_failure` takes it: then it is out, and the others go on. The baseline's
    is always passed on.
    """
    if baseline not in contenders:
        raise UsageError(
            f"the baseline {baseline!r} is not measured, only: {', '.join(sorted(contenders)) or 'nothing'}."
        )
    with _garbage_collector_off():
        field: dict[str, _Entrant] = {}
        for name, contender in contenders.items():
            runner = Calls(contender, clock) if callable(contender) else contender
            try:
                field[name] = _prepare(name, runner, settings)
            except VisionDeployError as error:
                _excuse(name, error, baseline, on_failure)
        again = replace(field[baseline], raw_ns=[], blocks_ns=[]) if settings.noise else None
        stopped = _run_blocks(field, again, baseline, settings, progress, clock, on_failure)
    speedups = _speedups(field, baseline, settings)
    found = {name: _result(entrant, speedups[name], stopped) for name, entrant in field.items()}
    if again is not None:
        noise = noise_of(np.divide(field[baseline].blocks_ns, again.blocks_ns).tolist(), settings.seed)
        found[baseline] = replace(found[baseline], noise=noise)
    return found


def noise_of(ratios: Sequence[float], seed: int = 0) -> measured.Noise:
    """What the ratios of the baseline's two turns in each of two or more blocks say of the machine."""
    mean = paired_ratio(ratios, np.ones(len(ratios)), seed=seed)
    spread = float(np.std(np.log(ratios), ddof=1))
    return measured.Noise(value=mean.value, ci95=mean.ci95, blocks=mean.n, spread=spread, ratios=tuple(ratios))


@dataclass(frozen=True, slots=True)
class Calls:
    """A call as a runner, in this process."""

    call: Callable[[], object]
    clock: Clock = time.perf_counter_ns

    def run(self, count: int) -> list[int]:
        """Nanoseconds of so many calls."""
        return [self._time() for _ in range(count)]

    def _time(self) -> int:
        start = self.clock()
        kept = self.call()
        stop = self.clock()
        del kept  # freed here and not inside the next run
        return stop - start


def _run_blocks(
    field: dict[str, _Entrant],
    again: _Entrant | None,
    baseline: str,
    settings: LatencySettings,
    progress: Callable[[int, int], None] | None,
    clock: Clock,
    on_failure: OnFailure | None,
) -> Stopped:
    order = np.random.default_rng(settings.seed)
    began = clock()
    for block in range(1, settings.max_blocks + 1):
        gc.collect()
        turns = [*field.values(), *([] if again is None else [again])]
        for index in order.permutation(len(turns)):
            try:
                _run_block(turns[index])
            except VisionDeployError as error:
                name = turns[index].name
                _excuse(name, error, baseline, on_failure)
                del field[name]
        if progress is not None:
            progress(block, settings.max_blocks)
        if block < settings.min_blocks:
            continue
        if len(field) > 1 and _precise(_speedups(field, baseline, settings), settings):
            return Stopped.PRECISE
        if clock() - began >= settings.seconds * 1e9:
            return Stopped.BUDGET
    return Stopped.MAX_BLOCKS


def _excuse(name: str, error: VisionDeployError, baseline: str, on_failure: OnFailure | None) -> None:
    if on_failure is None or name == baseline:
        raise error
    on_failure(name, error)


def _run_block(entrant: _Entrant) -> None:
    _, *runs = entrant.runner.run(1 + entrant.runs_per_block)
    entrant.warmups += 1
    entrant.raw_ns += runs
    entrant.blocks_ns.append(float(np.median(runs)))


def _prepare(name: str, runner: Runner, settings: LatencySettings) -> _Entrant:
    runs, settled = warm_up(runner, settings)
    expected = max(float(np.median(runs[-3:])), 1.0)
    fitting = round(settings.block_seconds * 1e9 / expected)
    return _Entrant(name, runner, len(runs), settled, min(max(fitting, 1), settings.max_runs), [], [])


def warm_up(runner: Runner, settings: LatencySettings) -> tuple[list[int], bool]:
    """Run until steady: the durations in nanoseconds, and whether they became steady.

    The last half of the runs must not drift by more than `warmup_tolerance` (`steady`). It is looked at each time that
    their number has grown by a quarter, since who looks after each run will see by chance what he hopes for; from
    eight runs and the length of a block on, as clocks take that long to rise. It ends once `warmup_seconds` are over,
    and the runs that there are by then are judged in the same way.
    """
    runs: list[int] = []
    while True:
        left = settings.warmup_seconds * 1e9 - sum(runs)
        fitting = left / max(float(np.median(runs[-3:])), 1.0) if runs else 1.0
        runs += runner.run(int(max(1, min(len(runs) // 4, fitting))))
        spent = sum(runs) / 1e9
        if len(runs) >= 3 and spent >= settings.warmup_seconds:
            return runs, is_steady(runs, settings.warmup_tolerance)
        lasted = spent >= settings.block_seconds or len(runs) >= settings.max_runs
        if len(runs) >= FEWEST and lasted and is_steady(runs, settings.warmup_tolerance):
            return runs, True


def _speedups(field: dict[str, _Entrant], baseline: str, settings: LatencySettings) -> dict[str, Estimate]:
    reference = field[baseline].blocks_ns
    found = {
        name: paired_ratio(reference, entrant.blocks_ns, seed=settings.seed)
        for name, entrant in field.items()
        if name != baseline
    }
    return {baseline: Estimate(1.0, (1.0, 1.0), len(reference)), **found}


def _precise(speedups: Mapping[str, Estimate], settings: LatencySettings) -> bool:
    return all(
        (found.ci95[1] - found.ci95[0]) / 2 <= settings.relative_width * found.value for found in speedups.values()
    )


def _result(entrant: _Entrant, speedup: Estimate, stopped: Stopped) -> LatencyResult:
    raw = tuple(run / 1e6 for run in entrant.raw_ns)
    return LatencyResult(
        raw=raw,
        blocks=tuple(block / 1e6 for block in entrant.blocks_ns),
        runs_per_block=entrant.runs_per_block,
        warmups=entrant.warmups,
        settled=entrant.settled,
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
