import gc
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visiondeploy.benchmarks.latency import LatencySettings, Stopped, measure, noise_of
from visiondeploy.errors import ResourceError, UsageError, VisionDeployError


class FakeTime:
    """A clock that only moves when a contender works."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[str] = []

    def __call__(self) -> int:
        return self.now

    def contender(self, name: str, *durations_ms: float) -> Callable[[], object]:
        """Takes the durations in turn, the last one ever after."""
        left = list(durations_ms)

        def run() -> object:
            self.order.append(name)
            self.now += round((left.pop(0) if len(left) > 1 else left[0]) * 1e6)
            return object()

        return run


def short(**changes: float) -> LatencySettings:
    values = {"seconds": 60, "min_blocks": 3, "max_blocks": 10, "block_seconds": 0.1, **changes}
    return LatencySettings.model_validate(values)


class TestMeasure:
    def test_speed_ups_against_the_baseline(self) -> None:
        clock = FakeTime()
        found = measure(
            {"eager": clock.contender("eager", 30), "fast": clock.contender("fast", 10)}, "eager", short(), clock=clock
        )
        assert found["fast"].speedup.value == pytest.approx(3)
        assert found["eager"].speedup.value == 1
        assert found["eager"].speedup.ci95 == (1, 1)
        assert found["fast"].stopped is Stopped.PRECISE
        assert found["fast"].percentiles.p50 == pytest.approx(10)
        assert len(found["fast"].blocks) == 3

    def test_blocks_last_about_as_long_as_asked(self) -> None:
        clock = FakeTime()
        found = measure(
            {"slow": clock.contender("slow", 250), "fast": clock.contender("fast", 10)}, "slow", short(), clock=clock
        )
        assert found["slow"].runs_per_block == 1
        assert found["fast"].runs_per_block == 10
        assert len(found["fast"].raw) == found["fast"].percentiles.n == 30

    def test_runs_of_a_block_are_bounded(self) -> None:
        clock = FakeTime()
        found = measure(
            {"tiny": clock.contender("tiny", 0.001)}, "tiny", short(max_runs=50, seconds=0.001), clock=clock
        )
        assert found["tiny"].runs_per_block == 50

    def test_first_run_of_each_block_is_not_timed(self) -> None:
        clock = FakeTime()
        calls = 0

        def cold_after_the_other() -> None:
            nonlocal calls
            calls += 1
            cold = clock.order and clock.order[-1] != "cold"
            clock.order.append("cold")
            clock.now += int(90e6) if cold else int(20e6)

        found = measure(
            {"eager": clock.contender("eager", 20), "cold": cold_after_the_other}, "eager", short(), clock=clock
        )
        assert set(found["cold"].raw) == {20.0}
        assert found["cold"].warmups + len(found["cold"].raw) == calls

    def test_slow_runs_are_kept(self) -> None:
        clock = FakeTime()
        # Eight runs to warm up, one to warm again, then the first timed one is disturbed.
        found = measure(
            {"eager": clock.contender("eager", *[20] * 9, 900, 20)},
            "eager",
            short(seconds=0.1, noise=False),
            clock=clock,
        )
        assert found["eager"].raw[0] == 900
        assert max(found["eager"].blocks) == 20

    def test_warms_up_until_steady(self) -> None:
        clock = FakeTime()
        falling = [200.0, 150, 120, 100, 80, 60, 50, 40, 30, 20]
        found = measure({"jit": clock.contender("jit", *falling)}, "jit", short(seconds=0.1), clock=clock)
        assert found["jit"].settled
        assert set(found["jit"].raw) == {20.0}

    def test_warm_up_ends_though_unsteady(self) -> None:
        clock = FakeTime()
        rising = clock.contender("rising", *[10 * 1.5**step for step in range(30)])
        found = measure({"rising": rising}, "rising", short(warmup_seconds=0.5, seconds=0.1), clock=clock)
        assert not found["rising"].settled

    def test_order_is_shuffled_and_repeatable(self) -> None:
        def starts() -> list[str]:
            clock = FakeTime()
            names = ("a", "b", "c")
            measure(
                {name: clock.contender(name, 200) for name in names},
                "a",
                short(min_blocks=10, max_blocks=10, noise=False),
                clock=clock,
            )
            return clock.order[-60::2]

        first = starts()
        blocks = [tuple(first[at : at + 3]) for at in range(0, 30, 3)]
        assert all(sorted(block) == ["a", "b", "c"] for block in blocks)
        assert len(set(blocks)) > 2
        assert starts() == first

    def test_stops_when_the_time_is_used_but_not_before_the_fewest_blocks(self) -> None:
        clock = FakeTime()
        noisy = clock.contender("noisy", *np.random.default_rng(0).uniform(10, 200, size=500))
        found = measure(
            {"eager": clock.contender("eager", 100), "noisy": noisy}, "eager", short(seconds=0.01), clock=clock
        )
        assert found["noisy"].stopped is Stopped.BUDGET
        assert len(found["noisy"].blocks) == 3

    def test_stops_at_the_most_blocks(self) -> None:
        clock = FakeTime()
        done: list[tuple[int, int]] = []
        measured = measure(
            {"alone": clock.contender("alone", 10)},
            "alone",
            short(max_blocks=4),
            progress=lambda block, blocks: done.append((block, blocks)),
            clock=clock,
        )
        assert measured["alone"].stopped is Stopped.MAX_BLOCKS
        assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_garbage_collector_is_off_meanwhile_and_on_again_after_an_error(self) -> None:
        def fails() -> None:
            assert not gc.isenabled()
            raise RuntimeError("engine")

        with pytest.raises(RuntimeError, match="engine"):
            measure({"eager": fails}, "eager", short())
        assert gc.isenabled()

    def test_baseline_must_be_measured(self) -> None:
        with pytest.raises(UsageError, match="'eager' is not measured, only: fast"):
            measure({"fast": lambda: None}, "eager", short())

    def test_real_time_orders_contenders(self) -> None:
        def busy(seconds: float) -> Callable[[], None]:
            def run() -> None:
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    pass

            return run

        settings = short(seconds=1, block_seconds=0.02, max_blocks=12)
        contenders = {"slow": busy(0.004), "middle": busy(0.002), "fast": busy(0.0005)}
        found = measure(contenders, "slow", settings)
        assert found["slow"].speedup.value < found["middle"].speedup.value < found["fast"].speedup.value
        for result in found.values():
            assert result.speedup.ci95[0] <= result.speedup.value <= result.speedup.ci95[1]
            assert min(result.raw) > 0


class TestNoise:
    def test_the_baseline_has_a_second_turn_in_each_block(self) -> None:
        clock = FakeTime()
        found = measure(
            {"eager": clock.contender("eager", 30), "fast": clock.contender("fast", 10)}, "eager", short(), clock=clock
        )
        noise = found["eager"].noise
        assert noise is not None
        assert (noise.value, noise.ci95, noise.spread, noise.blocks) == (1, (1, 1), 0, 3)
        assert len(found["eager"].raw) == 3 * found["eager"].runs_per_block
        assert found["fast"].noise is None

    def test_it_can_be_left_out(self) -> None:
        clock = FakeTime()
        found = measure({"eager": clock.contender("eager", 30)}, "eager", short(noise=False), clock=clock)
        assert found["eager"].noise is None

    def test_of_a_machine_that_wavers_is_wide(self) -> None:
        clock = FakeTime()
        wavering = clock.contender("eager", *np.random.default_rng(0).uniform(50, 150, size=500))
        noise = measure({"eager": wavering}, "eager", short(max_blocks=10), clock=clock)["eager"].noise
        assert noise is not None
        assert noise.ci95[0] < 1 < noise.ci95[1]
        assert noise.spread > 0.05

    @given(st.lists(st.floats(0.5, 2), min_size=2, max_size=20))
    def test_swapping_the_turns_gives_the_reciprocal(self, ratios: list[float]) -> None:
        one, other = noise_of(ratios), noise_of([1 / ratio for ratio in ratios])
        assert one.value == pytest.approx(1 / other.value)
        assert one.spread == pytest.approx(other.spread)


class Told:
    """A runner that is told how often to run, and fails after so many calls."""

    def __init__(self, milliseconds: float, fails_after: int = 10**9) -> None:
        self.counts: list[int] = []
        self._ns, self._fails_after = round(milliseconds * 1e6), fails_after

    def run(self, count: int) -> list[int]:
        self.counts.append(count)
        if len(self.counts) > self._fails_after:
            raise ResourceError("its process was killed.")
        return [self._ns] * count


class TestRunners:
    def test_one_exchange_a_block(self) -> None:
        """Whoever waits for a process in between would measure that."""
        fast = Told(10)
        found = measure({"eager": Told(30), "fast": fast}, "eager", short())["fast"]
        assert fast.counts[-3:] == [1 + found.runs_per_block] * 3
        assert sum(fast.counts) == len(found.raw) + found.warmups

    @pytest.mark.parametrize("after", [0, 12])
    def test_one_that_fails_is_out_and_the_others_go_on(self, after: int) -> None:
        failed: dict[str, VisionDeployError] = {}
        contenders = {"eager": Told(30), "dies": Told(10, after), "fast": Told(10)}
        found = measure(contenders, "eager", short(min_blocks=9), on_failure=failed.__setitem__)
        assert list(found) == ["eager", "fast"]
        assert found["fast"].speedup.n == 9
        assert str(failed["dies"]) == "its process was killed."

    def test_the_baselines_failure_is_everybodys(self) -> None:
        failed: dict[str, VisionDeployError] = {}
        contenders = {"eager": Told(30, 12), "fast": Told(10)}
        with pytest.raises(ResourceError, match="was killed"):
            measure(contenders, "eager", short(min_blocks=9), on_failure=failed.__setitem__)
        assert failed == {}

    def test_without_somebody_who_takes_it_a_failure_is_raised(self) -> None:
        with pytest.raises(ResourceError, match="was killed"):
            measure({"eager": Told(30), "dies": Told(10, 12)}, "eager", short(min_blocks=9))


class TestResult:
    def test_goes_into_a_report(self) -> None:
        clock = FakeTime()
        found = measure(
            {"eager": clock.contender("eager", 30), "fast": clock.contender("fast", 10)}, "eager", short(), clock=clock
        )["fast"]
        latency, speedup = found.as_latency(), found.as_speedup()
        assert (latency.p50, latency.p90, latency.p99) == (10, 10, None)
        assert latency.raw == found.raw
        assert latency.blocks == found.blocks
        assert (latency.n, latency.warmups) == (30, found.warmups)
        assert (speedup.value, speedup.blocks) == (found.speedup.value, 3)


class TestSettings:
    @pytest.mark.parametrize(
        "change",
        [
            {"seconds": 0},
            {"seconds": float("nan")},
            {"min_blocks": 1},
            {"max_blocks": 2},
            {"second": 1},
            {"max_runs": 0},
            {"pin": True, "isolate": False},
        ],
    )
    def test_refuses_what_cannot_be_measured_with(self, change: dict[str, float]) -> None:
        with pytest.raises(ValidationError):
            short(**change)
