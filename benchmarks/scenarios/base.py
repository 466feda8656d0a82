"""What scenarios share: the engine that queries are put to, and what is said of their latencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visiondeploy.benchmarks.latency import Clock
from visiondeploy.benchmarks.report.measured import Latency, Scenario
from visiondeploy.benchmarks.report.parts import Interval
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.benchmarks.statistics import paired_ratio, percentiles
from visiondeploy.types import Array, Session


@dataclass(frozen=True, slots=True)
class System:
    """An engine. `open` gives a new session of it with so many threads; `feeds` are one query of one image.

    `single` is its latency with nothing else asked of it. `clock` gives nanoseconds, `sleep` takes seconds.
    """

    open: Callable[[int], Session]
    feeds: Mapping[str, Array]
    threads: int
    single: Latency
    clock: Clock = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep


class Measure(Protocol):
    """One scenario, measured of one engine."""

    def __call__(self, system: System, settings: ScenarioSettings) -> Scenario:
        """What was found. What a session raises is passed on, unless a load's `reason` can say it."""
        ...


def latency_of(nanoseconds: Sequence[int] | Array) -> Latency:
    """Percentiles in milliseconds of the latencies of queries."""
    found = percentiles(np.asarray(nanoseconds, dtype=np.float64) / 1e6)
    return Latency(p50=found.p50, p90=found.p90, p99=found.p99, n=found.n)


def rate_of(rates: Sequence[float]) -> tuple[float, Interval | None]:
    """The geometric mean of the rates of blocks, with its 95 % interval; without one where there is one block."""
    if len(rates) < 2:
        return rates[0], None
    found = paired_ratio(rates, np.ones(len(rates)))
    return found.value, found.ci95


def highest(values: Sequence[float | None]) -> int | None:
    """The number of the highest value; None where there is none."""
    known = [number for number, value in enumerate(values) if value is not None]
    return max(known, key=lambda number: values[number] or 0.0, default=None)
