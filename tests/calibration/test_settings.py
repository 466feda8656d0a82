from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visiondeploy.calibration.settings import CalibrationSettings

available = st.integers(0, 300)
counts = st.integers(1, 100)
seeds = st.integers(0, 2**31 - 1)


@given(available, counts, seeds)
def test_images_are_as_many_as_asked_or_as_there_are_each_once_and_in_order(length, images, seed) -> None:
    chosen = CalibrationSettings(images=images, seed=seed).choose(length)
    assert len(chosen) == min(images, length)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(length))
    assert all(type(index) is int for index in chosen)


@given(available, counts, seeds)
def test_a_seed_always_chooses_the_same(length, images, seed) -> None:
    settings = CalibrationSettings(images=images, seed=seed)
    assert settings.choose(length) == settings.choose(length)


@given(st.integers(1, 300), counts, seeds)
def test_more_images_keep_those_that_fewer_had(length, images, seed) -> None:
    few = CalibrationSettings(images=images, seed=seed).choose(length)
    assert set(few) <= set(CalibrationSettings(images=images + 5, seed=seed).choose(length))


def test_another_seed_chooses_others() -> None:
    assert len({tuple(CalibrationSettings(images=8, seed=seed).choose(1000)) for seed in range(20)}) == 20


@pytest.mark.parametrize("given", [{"images": 0}, {"seed": -1}, {"seed": 2**31}, {"weight_bits": 4}, {"image": 3}])
def test_what_makes_no_sense_is_refused(given) -> None:
    with pytest.raises(ValidationError):
        CalibrationSettings(**given)
