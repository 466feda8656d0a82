"""Scenarios of engines whose times are known, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.scenarios.base import System
from visiondeploy.benchmarks.scenarios.offline import offline
from visiondeploy.benchmarks.scenarios.server import probe, server
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.benchmarks.scenarios.table import SCENARIOS
from visiondeploy.errors import ResourceError, UsageError
from visiondeploy.types import TensorSpec

FEEDS = {"x": np.zeros((1, 3, 4, 4), np.float32)}


class FakeTime:
    """A clock that moves when an engine works, when somebody sleeps, and a little whenever it is read."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 10_000
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


class Engine:
    """A session that takes `milliseconds(batch)` for a batch."""

    def __init__(self, clock: FakeTime, milliseconds: Callable[[int], float], batch: int | str = "N") -> None:
        self._clock, self._milliseconds = clock, milliseconds
        self.inputs = (TensorSpec("x", "float32", (batch, 3, 4, 4)),)
        self.outputs = self.inputs

    def infer(self, feeds: Any) -> dict[str, Any]:
        self._clock.now += round(self._milliseconds(len(feeds["x"])) * 1e6)
        return {}

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def system(milliseconds: Callable[[int], float], batch: int | str = "N", threads: int = 2, p50: float = 10) -> System:
    clock = FakeTime()
    single = Latency(p50=p50, p90=None, p99=None, n=20)
    return System(lambda threads: Engine(clock, milliseconds, batch), FEEDS, threads, single, clock, sleep=clock.sleep)


def settings(**changes: Any) -> ScenarioSettings:
    return ScenarioSettings.model_validate({"seconds": 60, **changes})


class TestOffline:
    def test_images_in_a_second_by_batch(self) -> None:
        found = offline(system(lambda batch: 10 + 2 * batch), settings(batches=(1, 2, 4)))
        assert [load.batch for load in found.loads] == [1, 2, 4]
        assert [round(load.per_second) for load in found.loads] == [83, 143, 222]
        assert found.best == 2
        assert found.loads[1].latency_ms.p50 == pytest.approx(14, rel=0.01)
        low, high = found.loads[1].ci95
        assert low <= found.loads[1].per_second <= high

    def test_the_best_need_not_be_the_largest(self) -> None:
        found = offline(system(lambda batch: 10 if batch < 4 else 100), settings(batches=(1, 2, 4)))
        assert found.best == 1

    def test_an_engine_of_one_batch(self) -> None:
        found = offline(system(lambda batch: 10, batch=1), settings(batches=(1, 2)))
        assert found.loads[0].per_second > 0
        assert found.loads[1].per_second is None
        assert found.loads[1].reason == "the engine takes batches of 1"

    def test_a_batch_that_the_engine_refuses_has_its_reason(self) -> None:
        def refuses(batch: int) -> float:
            if batch > 1:
                raise UsageError("the profile ends at a batch of 1.")
            return 10

        found = offline(system(refuses), settings(batches=(1, 2)))
        assert found.loads[1].reason == "the profile ends at a batch of 1."
        assert found.best == 0


class TestMultiStream:
    def test_each_stream_has_its_share_of_the_threads(self) -> None:
        opened: list[int] = []
        engines = system(lambda batch: 1, threads=4)

        def open_one(threads: int) -> Any:
            opened.append(threads)
            return engines.open(threads)

        given = System(open_one, FEEDS, 4, engines.single, engines.clock, engines.sleep)
        found = SCENARIOS["multi-stream"](given, settings(seconds=0.2, streams=(1, 2, 8)))
        assert opened == [4, 2, 2, *[1] * 8]
        assert [load.streams for load in found.loads] == [1, 2, 8]
        assert all(load.latency_ms.p50 > 0 and load.per_second > 0 for load in found.loads)
        assert found.best is not None

    def test_one_that_cannot_be_opened_says_why(self) -> None:
        def none(threads: int) -> Any:
            raise ResourceError("no memory for another session.")

        given = system(lambda batch: 1)
        found = SCENARIOS["multi-stream"](
            System(none, FEEDS, 2, given.single, given.clock, given.sleep), settings(streams=(2,))
        )
        assert (found.best, found.loads[0].reason) == (None, "no memory for another session.")


class TestServer:
    def test_latency_counts_from_the_arrival(self) -> None:
        """Queries that all arrive at once wait for each other: the k-th is done after k times the service."""
        given = system(lambda batch: 10)
        with given.open(1) as session:
            calls = _calls(given, session)
            load = probe(given, calls, np.array([1.0, *[0.0] * 9]), rate=100, bound=1000, quantile=0.5)
        assert load.latency_ms.p50 == pytest.approx(55, rel=0.01)
        assert load.held

    def test_finds_what_queueing_theory_says(self) -> None:
        """M/D/1: the waiting time is known, and with it the utilisation at which p90 of the latencies is 3 services."""
        found = server(system(lambda batch: 10), settings(seconds=600, queries=1000, tolerance=0.02))
        assert found.bound_ms == 30
        assert found.quantile == 0.99
        assert found.stopped == "precise"
        best = found.loads[found.best]
        assert best.held
        # p99 of M/D/1 passes three services near a utilisation of 0.47
        assert 0.35 <= best.rate * 0.01 <= 0.6
        assert best.latency_ms.p50 < 30
        higher = [load for load in found.loads if load.rate > best.rate]
        assert higher
        assert not any(load.held for load in higher)

    def test_a_wider_bound_is_held_at_a_higher_rate(self) -> None:
        rates = []
        for bound in (25, 30, 100):
            found = server(system(lambda batch: 10), settings(seconds=600, bound_ms=bound))
            rates.append(found.loads[found.best].rate)
        assert rates == sorted(rates)
        assert rates[0] < rates[-1]

    def test_arrivals_repeat(self) -> None:
        assert server(system(lambda batch: 10), settings()) == server(system(lambda batch: 10), settings())

    def test_the_quantile_is_one_that_the_queries_support(self) -> None:
        found = server(system(lambda batch: 10), settings(seconds=6))
        assert found.quantile == 0.9
        assert found.loads[0].latency_ms.n <= 50

    def test_too_slow_for_any(self) -> None:
        found = server(system(lambda batch: 10), settings(seconds=0.5))
        assert (found.loads, found.best) == ((), None)
        assert "4 queries of 10 ms fit into a probe" in found.reason

    def test_a_bound_below_a_single_query(self) -> None:
        found = server(system(lambda batch: 10), settings(bound_ms=5))
        assert found.best is None
        assert found.reason == "a query takes 10 ms alone, and the bound is 5 ms"

    def test_ends_with_the_time(self) -> None:
        found = server(system(lambda batch: 10), settings(seconds=10, tolerance=0.0001))
        assert found.stopped == "budget"


def test_single_stream_is_what_the_blocks_found() -> None:
    raw = (10.0,) * 20
    single = Latency(p50=10, p90=None, p99=None, n=20, raw=raw, blocks=(10.0, 10.0), stopped="precise")
    given = system(lambda batch: 10)
    found = SCENARIOS["single-stream"](System(given.open, FEEDS, 2, single, given.clock, given.sleep), settings())
    assert found.loads[0].per_second == 100
    assert found.loads[0].latency_ms.p50 == 10
    assert found.loads[0].latency_ms.raw == ()


def _calls(given: System, session: Any) -> Any:
    from functools import partial

    from visiondeploy.benchmarks.latency import Calls

    return Calls(partial(session.infer, FEEDS), given.clock)
