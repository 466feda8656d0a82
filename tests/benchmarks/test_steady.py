import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.benchmarks.steady import drift, is_steady

SERIES = st.lists(st.floats(1, 1e6), min_size=2, max_size=80)


def noisy(count: int, spread: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, spread, count) * 1e6


class TestDrift:
    def test_of_what_stays_is_none(self) -> None:
        assert drift([5, 5, 5, 5]) == 0

    def test_of_what_falls_is_below_zero(self) -> None:
        assert drift(np.linspace(2, 1, 100)) < -0.3

    def test_what_was_before_the_last_half_does_not_count(self) -> None:
        assert drift([900, 800, 100, 100, 20, 20, 20, 20, 20, 20]) == 0

    def test_a_few_disturbed_runs_do_not_count(self) -> None:
        runs = np.full(100, 1e6)
        runs[[60, 75, 99]] = 9e6
        assert drift(runs) == 0

    def test_a_step_is_seen(self) -> None:
        assert drift([1.0] * 75 + [1.1] * 25) > 0.09

    @given(SERIES, st.floats(0.1, 1e3))
    def test_does_not_depend_on_the_unit(self, runs, unit) -> None:
        assert np.isclose(drift(runs), drift(np.multiply(runs, unit)), atol=1e-9)

    @given(SERIES)
    def test_is_finite(self, runs) -> None:
        assert np.isfinite(drift(runs))


class TestIsSteady:
    def test_noise_is_no_drift(self) -> None:
        found = [is_steady(noisy(200, 0.05, seed), 0.05) for seed in range(50)]
        assert sum(found) >= 45

    def test_a_slow_fall_is_drift_though_neighbours_agree(self) -> None:
        """Of 1 % a run: six that are looked at alone would pass."""
        runs = 1e6 * 0.99 ** np.arange(40)
        assert not is_steady(runs, 0.05)

    def test_one_run_says_nothing(self) -> None:
        assert not is_steady([5], 0.05)
