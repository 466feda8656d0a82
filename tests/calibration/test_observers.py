from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visiondeploy.calibration.observers import (
    AFFINE_UINT8,
    OBSERVERS,
    SYMMETRIC_INT8,
    Range,
    Target,
    entropy,
    min_max,
    moving_average,
    mse,
    observer_of,
    percentile,
)
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.errors import InputError, UsageError

TARGETS = [AFFINE_UINT8, SYMMETRIC_INT8]
VALUES = arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e6, 1e6, width=32))


def statistics_of(*samples: np.ndarray) -> TensorStatistics:
    statistics = TensorStatistics()
    for sample in samples:
        statistics.update(np.asarray(sample, np.float32))
    return statistics


def error(values: np.ndarray, found: Range, target: Target) -> float:
    """The mean squared error of really quantising."""
    step = (found.high - found.low) / (target.levels - 1)
    if step == 0:
        return float(np.mean(np.square(values, dtype=float)))
    first = np.rint(found.low / step)
    codes = np.clip(np.rint(values / step), first, first + target.levels - 1)
    return float(np.mean((codes * step - values) ** 2))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", OBSERVERS)
class TestEveryObserver:
    @settings(max_examples=40)
    @given(st.lists(VALUES, min_size=1, max_size=3))
    def test_a_range_fits_its_target_and_lies_within_what_was_seen(self, name, target, parts) -> None:
        statistics = statistics_of(*parts)
        found, widest = OBSERVERS[name](statistics, target), min_max(statistics, target)
        assert widest.low <= found.low <= 0 <= found.high <= widest.high
        assert not target.symmetric or found.low == -found.high

    def test_the_same_for_tensors_as_networks_have_them(self, name, target) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(2, 8, 40, 50)).astype(np.float32)
        for sample in (values, np.maximum(values, 0), np.minimum(values, 0), values * 1e-30, values * 1e30):
            statistics = statistics_of(sample)
            found, widest = OBSERVERS[name](statistics, target), min_max(statistics, target)
            assert widest.low <= found.low <= 0 <= found.high <= widest.high
            assert found.high - found.low > 0.5 * (widest.high - widest.low)

    @pytest.mark.parametrize("value", [5.0, -3.0, 1e-40, 0.1])
    @pytest.mark.parametrize("shape", [(), (1,), (1, 3, 20, 20)])
    def test_a_constant_is_kept(self, name, target, value, shape) -> None:
        found = OBSERVERS[name](statistics_of(np.full(shape, value)), target)
        if not target.symmetric:
            assert (found.low if value > 0 else found.high) == 0
        # To half a step of 255.
        assert (found.high if value > 0 else -found.low) == pytest.approx(abs(value), rel=2e-3)

    def test_all_zero_is_an_empty_range(self, name, target) -> None:
        found = OBSERVERS[name](statistics_of(np.zeros((1, 3, 4, 4))), target)
        assert (str(found.low), str(found.high)) == ("0.0", "0.0")

    def test_only_negative_values_end_at_zero(self, name, target) -> None:
        values = -1 - np.random.default_rng(0).exponential(size=10_000)
        found = OBSERVERS[name](statistics_of(values), target)
        assert found.low < -4
        assert found.high == (-found.low if target.symmetric else 0)

    def test_zeros_do_not_matter_but_to_a_percentile(self, name, target) -> None:
        values = np.abs(np.random.default_rng(0).normal(size=10_000))
        with_zeros = OBSERVERS[name](statistics_of(np.append(values, np.zeros(90_000))), target)
        if name != "percentile":
            assert with_zeros == OBSERVERS[name](statistics_of(values), target)

    def test_nothing_seen_is_an_error(self, name, target) -> None:
        with pytest.raises(InputError, match="no image was given"):
            OBSERVERS[name](TensorStatistics(), target)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_is_an_error(self, name, target, bad) -> None:
        with pytest.raises(InputError, match="NaN or infinity"):
            OBSERVERS[name](statistics_of([0.0, bad, 1.0], [0.5]), target)


def test_min_max_is_that_of_everything_together_and_zero() -> None:
    statistics = statistics_of([1, 2], [5, 3])
    assert min_max(statistics, AFFINE_UINT8) == Range(0, 5)
    assert min_max(statistics, SYMMETRIC_INT8) == Range(-5, 5)
    assert min_max(statistics_of([-7, -2], [-1]), AFFINE_UINT8) == Range(-7, 0)


def test_the_moving_average_gives_one_image_a_tenth() -> None:
    found = moving_average(statistics_of([-1, 1], [-1, 11]), AFFINE_UINT8)
    assert (found.low, found.high) == pytest.approx((-1, 2))


class TestPercentile:
    @given(arrays(np.float32, 500, elements=st.floats(-100, 100, width=32)), st.sampled_from([90.0, 99.0]))
    def test_no_more_is_clipped_than_was_allowed(self, values, percent) -> None:
        found = percentile(statistics_of(values), AFFINE_UINT8, percent)
        allowed = (1 - percent / 100) * values.size + 1e-6
        assert np.sum(values > found.high) <= allowed
        assert np.sum(values < found.low) <= allowed
        found = percentile(statistics_of(values), SYMMETRIC_INT8, percent)
        assert np.sum(np.abs(values) > found.high) <= allowed

    def test_both_ends_are_those_of_the_values(self) -> None:
        values = np.random.default_rng(0).gumbel(size=1_000_000)
        statistics = statistics_of(values)
        found = percentile(statistics, AFFINE_UINT8)
        width = statistics.histogram.width
        assert found.low == pytest.approx(np.quantile(values, 0.0001), abs=2 * width)
        assert found.high == pytest.approx(np.quantile(values, 0.9999), abs=2 * width)
        found = percentile(statistics, SYMMETRIC_INT8)
        assert found.high == pytest.approx(np.quantile(np.abs(values), 0.9999), abs=2 * width)


@pytest.mark.parametrize("target", TARGETS)
class TestMse:
    @pytest.mark.parametrize("one_sided", [False, True])
    def test_heavy_tails_are_clipped_to_a_smaller_error(self, target, one_sided) -> None:
        values = np.random.default_rng(0).standard_t(4, size=200_000)
        values = np.maximum(values, 0) if one_sided else values
        statistics = statistics_of(values)
        found, widest = mse(statistics, target), min_max(statistics, target)
        assert error(values, found, target) < error(values, widest, target)

    @pytest.mark.parametrize("shift", [0.0, 1.5])
    def test_no_other_range_is_better_by_much(self, target, shift) -> None:
        values = np.random.default_rng(1).laplace(size=50_000) + shift
        statistics = statistics_of(values)
        least = error(values, mse(statistics, target), target)
        widest = min_max(statistics, target)
        shares = np.linspace(0.05, 1, 40)
        others = [target.range(widest.low * a, widest.high * b) for a in shares for b in shares]
        assert least < 1.03 * min(error(values, other, target) for other in others)

    def test_what_is_uniform_is_hardly_clipped(self, target) -> None:
        values = np.random.default_rng(0).uniform(-1, 1, size=100_000)
        found = mse(statistics_of(values), target)
        assert (found.low, found.high) == pytest.approx((-1, 1), rel=0.01)


def slow_entropy(values: np.ndarray, levels: int) -> float:
    """The threshold by the definition, a window at a time, for values that are not negative."""
    histogram = statistics_of(values).histogram
    counts = histogram.positive.astype(float)
    occupied = int(np.max(np.nonzero(counts))) + 1
    found = {}
    for size in range(levels, occupied + 1):
        p, q = counts[:size].copy(), np.zeros(size)
        p[-1] += counts[size:].sum()
        cell, filled = np.arange(size) * levels // size, counts[:size] > 0
        mean = np.bincount(cell, counts[:size]) / np.maximum(np.bincount(cell, filled), 1)
        q[filled] = mean[cell][filled]
        q[-1] = q[-1] or 1
        there = p > 0
        found[size] = np.sum(p[there] * np.log(p[there] / q[there])) / p.sum()
    return min(found, key=lambda size: (round(found[size], 12), -size)) * histogram.width


class TestEntropy:
    @pytest.mark.parametrize("target", TARGETS)
    def test_it_is_that_of_the_definition(self, target) -> None:
        values = np.abs(np.random.default_rng(0).laplace(size=20_000))
        levels = 128 if target.symmetric else 256
        assert entropy(statistics_of(values), target).high == pytest.approx(slow_entropy(values, levels))

    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize("one_sided", [False, True])
    def test_an_outlier_is_clipped_and_the_rest_is_not(self, target, one_sided) -> None:
        values = np.random.default_rng(0).normal(size=100_000)
        values = np.abs(values) if one_sided else values
        found = entropy(statistics_of(values, [80.0]), target)
        assert np.abs(values).max() < found.high < 20
        if not target.symmetric:
            assert found.low == (0 if one_sided else pytest.approx(values.min()))

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_peak_at_the_far_end_is_not_mistaken_for_an_outlier(self, target) -> None:
        """As ReLU6 makes one: half of all values are 6."""
        values = np.minimum(np.random.default_rng(0).exponential(8, size=50_000), 6)
        assert entropy(statistics_of(values), target).high == pytest.approx(6, rel=0.01)

    def test_two_sided_values_keep_what_each_side_has(self) -> None:
        """As a leaky ReLU makes them: −t is far outside of what was seen."""
        values = np.random.default_rng(0).normal(size=100_000)
        values = np.where(values < 0, 0.1 * values, values)
        found = entropy(statistics_of(values), AFFINE_UINT8)
        assert found.low == pytest.approx(values.min())
        assert 3 < found.high <= values.max()


def test_an_unknown_observer_is_told_what_exists() -> None:
    with pytest.raises(UsageError, match="no observer 'minmax': did you mean 'min-max'"):
        observer_of("minmax")
