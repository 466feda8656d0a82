"""Tensors of two graphs side by side."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.calibration.watching import AT_ONCE, Watched, side_by_side


class Numbers:
    """A graph whose tensor "t7" is 7·factor·x; it counts what is watched and what is run."""

    def __init__(self, factor: float) -> None:
        self.factor, self.watched, self.runs = factor, [], 0

    def __call__(self, tensors) -> Watched:
        self.watched.append(tuple(tensors))

        def run(feeds):
            self.runs += 1
            return {name: int(name[1:]) * self.factor * feeds["x"] for name in tensors}

        return run


@given(count=st.integers(0, 3 * AT_ONCE), samples=st.integers(1, 3))
def test_every_pair_comes_once_for_each_sample_a_few_at_a_time(count, samples) -> None:
    one, other = Numbers(1.0), Numbers(2.0)
    pairs = [(f"t{number}", f"t{count - number}") for number in range(count)]
    feeds = [{"x": np.full(2, 10.0**sample)} for sample in range(samples)]
    found = [(place, expected[0], given[0]) for place, expected, given in side_by_side(one, other, pairs, feeds)]
    wanted = [(n, n * 10.0**s, 2 * (count - n) * 10.0**s) for n in range(count) for s in range(samples)]
    assert sorted(found) == wanted
    assert [place for place, *_ in found[:: samples * AT_ONCE]] == list(range(0, count, AT_ONCE))
    assert all(len(names) <= AT_ONCE for names in (*one.watched, *other.watched))
    assert one.runs == other.runs == samples * -(-count // AT_ONCE)
