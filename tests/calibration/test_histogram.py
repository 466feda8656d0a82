from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visiondeploy.calibration.histogram import BINS, Histogram

# Without subnormals, which underflow where they are divided by a width above 1.
VALUES = arrays(
    np.float32, array_shapes(max_dims=4, max_side=6), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
)


def histogram_of(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.update(part)
    return histogram


def naive(values: np.ndarray, width: float) -> np.ndarray:
    """The counts by the definition of the bins, in double precision."""
    found = np.zeros(2 * BINS, np.int64)
    for value in values[values != 0].astype(float):
        found[int(np.floor(value / width)) + BINS] += 1
    return found


@given(st.lists(VALUES, max_size=6))
def test_every_value_is_counted_once_in_the_bin_it_lies_in(parts) -> None:
    histogram = histogram_of(*parts)
    whole = np.concatenate([np.zeros(0, np.float32), *(part.ravel() for part in parts)])
    assert histogram.count == whole.size
    assert histogram.zeros == np.sum(whole == 0)
    np.testing.assert_array_equal(histogram.counts, naive(whole, histogram.width))


@given(st.lists(VALUES, min_size=1, max_size=6), st.randoms())
def test_neither_the_order_nor_the_batches_matter(parts, random) -> None:
    whole = np.concatenate([part.ravel() for part in parts])
    shuffled = list(whole)
    random.shuffle(shuffled)
    one, many = histogram_of(whole), histogram_of(*(np.array([value]) for value in shuffled))
    assert (one.width, one.zeros) == (many.width, many.zeros)
    np.testing.assert_array_equal(one.counts, many.counts)


@given(VALUES)
def test_the_bins_reach_as_far_as_the_values_and_less_than_twice_as_far(values) -> None:
    reach, span = float(np.abs(values).max()), BINS * histogram_of(values).width
    assert reach < span
    # Below the smallest width float32 does not hold its reciprocal.
    assert span <= max(2 * reach, BINS * 2.0**-126)


@given(VALUES, st.integers(0, 30))
def test_widening_merges_neighbours(values, doublings) -> None:
    before = histogram_of(values)
    edge = np.float32(before.width * BINS * 2.0**doublings)
    after = histogram_of(values, edge)
    assert after.width == before.width * 2.0 ** (doublings + 1)
    expected = naive(np.append(values.ravel(), edge), after.width)
    np.testing.assert_array_equal(after.counts, expected)


def test_the_sides_are_counted_from_zero_outwards() -> None:
    histogram = histogram_of(np.array([-0.25, -0.25, 0.0, 0.75, -1.0, 1.0], np.float32))
    width = histogram.width
    assert (histogram.zeros, width) == (1, 2 / BINS)
    assert histogram.positive[int(0.75 / width)] == histogram.positive[int(1 / width)] == 1
    # A bin holds its lower edge, so what lies below zero is one nearer.
    assert histogram.negative[int(0.25 / width) - 1] == 2
    assert histogram.negative[int(1 / width) - 1] == 1


def test_a_value_next_to_an_edge_is_not_rounded_across_it() -> None:
    one = np.float32(1)
    below, above = np.nextafter(one, np.float32(0)), np.nextafter(-one, np.float32(0))
    histogram = histogram_of(np.array([below, above, np.float32(-1e-30), np.float32(1.5)], np.float32))
    edge = int(1 / histogram.width)
    assert (histogram.positive[edge - 1], histogram.positive[edge]) == (1, 0)
    assert (histogram.negative[edge - 1], histogram.negative[edge]) == (1, 0)
    assert (histogram.negative[0], histogram.positive[0]) == (1, 0)


@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e38])
def test_the_ends_of_float32_are_counted_too(size) -> None:
    histogram = histogram_of(np.array([size, -size, 0], np.float32))
    assert (histogram.count, histogram.zeros) == (3, 1)
    assert histogram.positive.sum() == histogram.negative.sum() == 1


def test_a_part_of_an_array_counts_as_its_copy_would() -> None:
    values = np.random.default_rng(0).normal(size=(4, 6, 300, 301)).astype(np.float32)
    part = values[:, ::2, 5:, ::-3]
    np.testing.assert_array_equal(histogram_of(part).counts, histogram_of(part.copy()).counts)
