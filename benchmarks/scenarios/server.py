"""Scenario `server`: queries arrive at random, and each must be answered within a bound. How many may come in a second?

As in MLPerf Inference (Reddi et al. 2020, arXiv:1911.02549, §III-D) they arrive as a Poisson process, and the answer is
the highest rate at which a quantile of the latencies holds the bound. Arrivals are drawn beforehand and do not wait
for answers (open loop), and a query's time counts from when it arrived, not from when the engine took it up: else a
slow answer would hold back the queries behind it and hide their waiting (coordinated omission). One session answers
them in their order.

All rates have the same arrivals, only closer together, so that a higher rate is never easier by luck, and bisection
finds the highest that holds.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from visiondeploy.benchmarks.latency import Calls, warm_up
from visiondeploy.benchmarks.report.measured import Load, Scenario
from visiondeploy.benchmarks.scenarios.base import System, highest, latency_of
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.benchmarks.statistics import minimum_runs
from visiondeploy.types import Array

QUANTILES = (0.99, 0.9, 0.5)
"""Of latencies that may have to hold the bound: the first that the number of queries supports."""

LOWEST = 0.05
"""A rate below this share of what the engine can do is not looked for: it would take too long."""

_PROBES = 12
"""How often the queries of one rate fit into the time, were they answered without a pause."""
_SPIN_NS = 200_000
"""A sleep ends some 0.1 ms late, with which no query is to be charged: the last of a wait is spent awake."""


def server(system: System, settings: ScenarioSettings) -> Scenario:
    """The highest rate of Poisson arrivals whose latencies hold the bound, by bisection."""
    with system.open(system.threads) as session:
        calls = Calls(partial(session.infer, system.feeds), system.clock)
        began = system.clock()
        runs, _ = warm_up(calls, settings.warming(settings.seconds / 4))
        alone = np.asarray(runs[len(runs) // 2 :], dtype=np.float64) / 1e6
        service_ms = system.single.p50 or float(np.median(alone))
        bound = settings.bound_ms or settings.bound_factor * service_ms
        queries = min(settings.queries, int(settings.seconds * 1000 / (_PROBES * service_ms)))
        quantile = next((q for q in QUANTILES if minimum_runs(q) <= queries), None)
        if quantile is None:
            return _nothing(
                f"{queries} queries of {service_ms:.3g} ms fit into a probe of {settings.seconds:g} s, and "
                f"{minimum_runs(QUANTILES[-1])} are needed for a median: give it more time",
                bound,
            )
        if np.mean(alone > bound) > 1 - quantile:
            return _nothing(f"a query takes {service_ms:.3g} ms alone, and the bound is {bound:g} ms", bound, quantile)
        gaps = np.random.default_rng(settings.seed).exponential(size=queries)
        loads, stopped = _bisect(system, calls, gaps, 1000 / service_ms, bound, quantile, settings, began)
    best = highest([load.rate if load.held else None for load in loads])
    return Scenario(name="server", loads=loads, best=best, bound_ms=bound, quantile=quantile, stopped=stopped)


def _nothing(reason: str, bound: float, quantile: float | None = None) -> Scenario:
    return Scenario(name="server", loads=(), bound_ms=bound, quantile=quantile, reason=reason)


def _bisect(
    system: System,
    calls: Calls,
    gaps: Array,
    capacity: float,
    bound: float,
    quantile: float,
    settings: ScenarioSettings,
    began: int,
) -> tuple[tuple[Load, ...], str]:
    """What was found at each rate that was tried, and why no other was."""
    low, high = 0.0, capacity
    loads: list[Load] = []
    while high - low > settings.tolerance * capacity:
        rate = (low + high) / 2
        if rate < LOWEST * capacity:
            return tuple(loads), "bound"
        left = settings.seconds - (system.clock() - began) / 1e9
        if loads and gaps.sum() / rate > left:
            return tuple(loads), "budget"
        load = probe(system, calls, gaps, rate, bound, quantile)
        loads.append(load)
        low, high = (rate, high) if load.held else (low, rate)
    return tuple(loads), "precise"


def probe(system: System, calls: Calls, gaps: Array, rate: float, bound: float, quantile: float) -> Load:
    """Queries that arrive `rate` times a second on average; `gaps` between them are in units of the mean one.

    It is broken off once so many are late that the rest cannot mend it; the latencies are then of those that came.
    """
    due = system.clock() + np.cumsum(gaps / rate * 1e9).astype(np.int64)
    may_be_late = math.floor((1 - quantile) * len(gaps) + 1e-9)
    late = 0
    latencies: list[int] = []
    first = int(due[0])
    for arrival in map(int, due):
        _wait(system, arrival)
        calls.run(1)
        latencies.append(system.clock() - arrival)
        late += latencies[-1] > bound * 1e6
        if late > may_be_late:
            break
    seconds = max(system.clock() - first, 1) / 1e9
    return Load(
        rate=rate,
        per_second=len(latencies) / seconds,
        latency_ms=latency_of(latencies),
        held=late <= may_be_late,
    )


def _wait(system: System, until: int) -> None:
    left = until - system.clock()
    if left > _SPIN_NS:
        system.sleep((left - _SPIN_NS) / 1e9)
    while system.clock() < until:
        pass
