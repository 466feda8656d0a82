"""What is tried of an engine whose outputs are wrong; `test_gating.py` has real ones that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kit.builds import Recorder

from visiondeploy.models.spec import InputSpec
from visiondeploy.pipeline.diagnosing import NORMALISATIONS, diagnose, normalisations

pixels = arrays(np.float64, (1, 3, 1, 2), elements=st.floats(0, 1))
PLAIN = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def by_channel(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(1, 3, 1, 1)


def normalised(batch: np.ndarray, mean, std) -> np.ndarray:
    return (batch - by_channel(mean)) / by_channel(std)


class TestNormalisations:
    @settings(deadline=None, derandomize=True, max_examples=20)
    @given(pixels, st.sampled_from([InputSpec(), PLAIN]))
    def test_images_as_others_normalise_them(self, batch, spec) -> None:
        changes = dict(normalisations(spec))
        given_in = normalised(batch, spec.mean, spec.std)
        for name, (mean, std) in NORMALISATIONS.items():
            if (spec.mean, spec.std) != (mean, std):
                found = changes[f"images go in as {name}"](given_in)
                assert np.allclose(found, normalised(batch, mean, std), atol=1e-9)

    @settings(deadline=None, derandomize=True, max_examples=20)
    @given(pixels)
    def test_a_second_one_is_undone(self, batch) -> None:
        changes = dict(normalisations(InputSpec()))
        for name, (mean, std) in NORMALISATIONS.items():
            found = changes[f"a second normalisation in it, to {name}, is undone"](batch)
            assert np.allclose(normalised(found, mean, std), batch, atol=1e-9)

    def test_its_own_is_not_tried_and_the_order_of_channels_is(self) -> None:
        changes = dict(normalisations(InputSpec()))
        assert "images go in as ImageNet's mean and deviation" not in changes
        batch = np.arange(24.0).reshape(2, 3, 2, 2)
        assert np.array_equal(changes["images go in as BGR"](batch)[:, 0], batch[:, 2])


@pytest.mark.parametrize("name", ["none", "."])
def test_what_cannot_be_looked_at_is_told(tmp_path, name) -> None:
    events = Recorder()
    assert diagnose("toy", Path(tmp_path / name), 1, events) is None
    (said,) = events.told
    assert said.startswith("toy: where it goes wrong could not be looked at: ")
