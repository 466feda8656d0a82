from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visiondeploy.calibration.statistics import DECAY, TensorStatistics
from visiondeploy.errors import InputError

FLOATS = st.floats(-1e6, 1e6, width=32)
SAMPLES = array_shapes(min_dims=1, max_dims=4, max_side=5).flatmap(
    lambda shape: st.lists(arrays(np.float32, shape, elements=FLOATS), min_size=1, max_size=5)
)


def statistics_of(*samples: np.ndarray) -> TensorStatistics:
    statistics = TensorStatistics()
    for sample in samples:
        statistics.update(sample)
    return statistics


@given(SAMPLES)
def test_extremes_count_and_means_are_those_of_everything_together(samples) -> None:
    found, whole = statistics_of(*samples), np.stack(samples).astype(float)
    assert found.extremes() == (whole.min(), whole.max())
    assert found.histogram.count == whole.size
    # Stacking puts a new axis in front: channels are on axis 2 now.
    others = tuple(axis for axis in range(whole.ndim) if axis != 2)
    np.testing.assert_allclose(found.channel_mean, whole.mean(axis=others).reshape(-1), rtol=1e-9, atol=1e-6)


@given(SAMPLES)
def test_the_moving_average_begins_with_the_first_sample_and_forgets(samples) -> None:
    low, high = samples[0].min(), samples[0].max()
    for sample in samples[1:]:
        low = DECAY * low + (1 - DECAY) * sample.min()
        high = DECAY * high + (1 - DECAY) * sample.max()
    found = statistics_of(*samples)
    assert (found.average_low, found.average_high) == pytest.approx((low, high), rel=1e-5, abs=1e-5)


def test_samples_may_differ_in_size() -> None:
    found = statistics_of(np.full((1, 2, 4, 4), 3, np.float32), np.zeros((3, 2, 2, 4), np.float32))
    np.testing.assert_allclose(found.channel_mean, [3 * 16 / 40] * 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_is_no_number_is_refused_whenever_it_came(bad, position) -> None:
    samples = [np.array([0.5, 1.0], np.float32) for _ in range(3)]
    samples[position][1] = bad
    found = statistics_of(*samples)
    with pytest.raises(InputError, match=r"calibration saw the range .*: the network gives NaN or infinity on a"):
        found.extremes()
    with pytest.raises(InputError, match="NaN or infinity"):
        _ = found.channel_mean


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(InputError, match="no image was given"):
        statistics_of().extremes()
    with pytest.raises(InputError, match="no image was given"):
        statistics_of(np.zeros((1, 0), np.float32)).extremes()


def test_it_does_not_grow_with_what_it_sees() -> None:
    import pickle

    sizes = set()
    found = TensorStatistics()
    for number in range(1, 4):
        found.update(np.full((1, 3, 64, 64), number, np.float32))
        sizes.add(len(pickle.dumps(found)) // 1000)
    assert len(sizes) == 1


@given(SAMPLES)
def test_extremes_of_a_channel_are_those_of_its_values(samples) -> None:
    whole = np.stack(samples)
    others = tuple(axis for axis in range(whole.ndim) if axis != 2)
    low, high = statistics_of(*samples).channel_extremes
    np.testing.assert_array_equal(low, np.atleast_1d(whole.min(axis=others)))
    np.testing.assert_array_equal(high, np.atleast_1d(whole.max(axis=others)))


@given(SAMPLES)
def test_a_state_that_was_kept_goes_on_like_the_statistics_themselves(samples) -> None:
    whole, kept = statistics_of(*samples), TensorStatistics.from_state(statistics_of(*samples).state())
    for found in (whole, kept):
        found.update(samples[0])
    for name, value in whole.state().items():
        np.testing.assert_array_equal(kept.state()[name], value)
    assert kept.extremes() == whole.extremes()


def test_a_state_of_nothing_is_still_of_nothing() -> None:
    with pytest.raises(InputError, match="no image was given"):
        TensorStatistics.from_state(TensorStatistics().state()).extremes()
