from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visiondeploy.calibration.observers import OBSERVERS, observer_of
from visiondeploy.errors import InputError, UsageError

FLOATS = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize("name", OBSERVERS)
class TestEveryObserver:
    def test_its_range_lies_within_what_was_seen(self, name: str) -> None:
        observer = OBSERVERS[name]()
        rng = np.random.default_rng(0)
        seen = [rng.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(5)]
        for values in seen:
            observer.update(values)
        found = observer.range()
        assert min(v.min() for v in seen) <= found.low <= found.high <= max(v.max() for v in seen)

    def test_nothing_seen_is_an_error(self, name: str) -> None:
        with pytest.raises(InputError, match="no image was given"):
            OBSERVERS[name]().range()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_is_an_error(self, name: str, bad: float) -> None:
        observer = OBSERVERS[name]()
        observer.update(np.array([0.0, bad, 1.0], np.float32))
        observer.update(np.array([0.5], np.float32))
        with pytest.raises(InputError, match="NaN or infinity"):
            observer.range()


@given(st.lists(arrays(np.float32, 7, elements=FLOATS), min_size=1, max_size=5))
def test_min_max_is_that_of_everything_together(parts: list[np.ndarray]) -> None:
    observer = OBSERVERS["min-max"]()
    for part in parts:
        observer.update(part)
    whole = np.concatenate(parts)
    assert (observer.range().low, observer.range().high) == (whole.min(), whole.max())


def test_an_unknown_observer_is_told_what_exists() -> None:
    with pytest.raises(UsageError, match="no observer 'minmax': did you mean 'min-max'"):
        observer_of("minmax")
