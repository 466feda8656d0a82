"""Scenario `multi-stream`: several callers at once, each of which asks again as soon as it has its answer.

Each has a session of its own, with its share of the threads, so that all together have as many as a single stream has;
with more callers than threads each has one, and they compete. MLPerf's scenario of this name (Reddi et al. 2020,
§III-D) sends queries of N samples at fixed times; here the N are independent, as the cameras are that a server watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from threading import Barrier, Thread

import numpy as np

from visiondeploy.benchmarks.latency import Calls, warm_up
from visiondeploy.benchmarks.report.measured import Load, Scenario
from visiondeploy.benchmarks.scenarios.base import System, highest, latency_of, rate_of
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.errors import VisionDeployError
from visiondeploy.types import Session

WINDOWS = 10
"""Parts of the time, of which the rates are compared."""


def multi_stream(system: System, settings: ScenarioSettings) -> Scenario:
    """Latency of a query, and queries answered in a second, for each number of streams."""
    seconds = settings.seconds / len(settings.streams)
    loads = tuple(_load(system, streams, seconds, settings) for streams in settings.streams)
    best = highest([load.per_second for load in loads])
    return Scenario(name="multi-stream", loads=loads, best=best, stopped="budget")


def _load(system: System, streams: int, seconds: float, settings: ScenarioSettings) -> Load:
    threads = max(1, system.threads // streams)
    try:
        with ExitStack() as stack:
            sessions = [stack.enter_context(system.open(threads)) for _ in range(streams)]
            for session in sessions:
                warm_up(Calls(partial(session.infer, system.feeds), system.clock), settings.warming(seconds / streams))
            answers = _run(system, sessions, seconds)
    except VisionDeployError as error:
        return Load(streams=streams, reason=str(error))
    if not answers:
        return Load(streams=streams, reason="no query was answered in the time: give it more.")
    began = min(start for start, _ in answers)
    rate, ci95 = _rate(sorted(stop - began for _, stop in answers))
    latencies = [stop - start for start, stop in answers]
    return Load(streams=streams, per_second=rate, ci95=ci95, latency_ms=latency_of(latencies))


def _run(system: System, sessions: Sequence[Session], seconds: float) -> list[tuple[int, int]]:
    """When each query was asked and answered, in nanoseconds. What one thread raises is raised here."""
    answers: list[list[tuple[int, int]]] = [[] for _ in sessions]
    faults: list[BaseException] = []
    together = Barrier(len(sessions))

    def ask(session: Session, answered: list[tuple[int, int]]) -> None:
        try:
            # A session's threads may belong to the thread that calls it: the first call makes them.
            session.infer(system.feeds)
            together.wait()
            end = system.clock() + round(seconds * 1e9)
            while not answered or answered[-1][1] < end:
                start = system.clock()
                kept = session.infer(system.feeds)
                answered.append((start, system.clock()))
                del kept
        except BaseException as error:
            together.abort()
            faults.append(error)

    threads = [Thread(target=ask, args=pair) for pair in zip(sessions, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        # Those that waited for it have a broken barrier, which says nothing.
        raise next((fault for fault in faults if not isinstance(fault, RuntimeError)), faults[0])
    return [pair for answered in answers for pair in answered]


def _rate(stops: Sequence[int]) -> tuple[float, tuple[float, float] | None]:
    """Answers in a second, from when each was given; the interval is of the rates in parts of the time."""
    total = stops[-1] / 1e9
    counts, _ = np.histogram(stops, bins=WINDOWS, range=(0, stops[-1]))
    rate = len(stops) / total
    if counts.min() < 2:
        return rate, None
    centre, ci95 = rate_of((counts * WINDOWS / total).tolist())
    if ci95 is None:
        return rate, None
    # The mean of the parts' logarithms is a little below the logarithm of the whole.
    return rate, (min(ci95[0] * rate / centre, rate), max(ci95[1] * rate / centre, rate))
