import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.errors import InputError
from visiondeploy.types import Array


def outputs(seed: int, n: int = 6, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).normal(size=(n, 3, 4, 5)).astype(dtype)


class TestAgreementMeter:
    def test_numbers_by_hand(self) -> None:
        meter = AgreementMeter()
        reference, candidate = np.array([[3.0, 4.0]]), np.array([[3.0, 3.5]])
        meter.update({"logits": reference}, {"logits": candidate}, np.array([[[1, 2]]]), np.array([[[1, 0]]]))
        found = meter.result()
        assert found.max_abs == 0.5
        assert found.mean_abs == 0.25
        assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 0.25))
        assert found.pixels == 0.5
        assert found.samples == 1

    def test_equal_outputs_are_exact(self) -> None:
        meter = AgreementMeter()
        meter.update({"y": outputs(0)}, {"y": outputs(0)})
        found = meter.result()
        assert (found.max_abs, found.mean_abs, found.sqnr_db, found.pixels) == (0, 0, math.inf, None)

    @given(st.integers(1, 5))
    @settings(max_examples=5, deadline=None, derandomize=True)
    def test_batches_add_up_to_the_whole(self, batch: int) -> None:
        reference, candidate = outputs(0), outputs(0) + 0.01 * outputs(1)
        whole, parts = AgreementMeter(), AgreementMeter()
        whole.update({"y": reference}, {"y": candidate}, reference.argmax(1), candidate.argmax(1))
        for start in range(0, len(reference), batch):
            r, c = reference[start : start + batch], candidate[start : start + batch]
            parts.update({"y": r}, {"y": c}, r.argmax(1), c.argmax(1))
        one, many = whole.result(), parts.result()
        assert (one.max_abs, one.pixels, one.samples) == (many.max_abs, many.pixels, many.samples)
        assert many.sqnr_db == pytest.approx(one.sqnr_db)
        assert many.mean_abs == pytest.approx(one.mean_abs)

    def test_several_outputs_count_together(self) -> None:
        meter = AgreementMeter()
        meter.update({"a": np.array([1.0]), "b": np.array([2.0])}, {"a": np.array([1.0]), "b": np.array([5.0])})
        assert meter.result().max_abs == 3
        assert meter.result().mean_abs == 1.5

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_candidate_that_is_not_finite_is_infinitely_far(self, bad: float) -> None:
        meter = AgreementMeter()
        candidate = outputs(0)
        candidate[0, 0, 0, :2] = bad
        meter.update({"y": outputs(0)}, {"y": candidate})
        meter.update({"y": outputs(0)}, {"y": outputs(0)})
        found = meter.result()
        assert meter.nonfinite == 2
        assert (found.max_abs, found.mean_abs, found.sqnr_db) == (math.inf, math.inf, -math.inf)

    def test_of_class_maps_only_pixels_are_known(self) -> None:
        meter = AgreementMeter()
        meter.update({}, {}, np.array([[[1, 2], [3, 4]]], np.uint8), np.array([[[1, 2], [3, 9]]], np.uint8))
        meter.update({}, {}, np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8))
        found = meter.result()
        assert (found.pixels, found.samples) == (11 / 12, 3)
        assert np.isnan([found.max_abs, found.mean_abs, found.sqnr_db]).all()
        assert not found.sqnr_db >= 0, "no limit in decibels is held"

    def test_half_precision_is_summed_in_double(self) -> None:
        meter = AgreementMeter()
        reference = np.full((1, 1000), 60_000, dtype="float16")
        meter.update({"y": reference}, {"y": reference - np.float16(32)})
        assert meter.result().sqnr_db == pytest.approx(20 * math.log10(60_000 / 32), abs=1e-3)

    def test_unsigned_integers_do_not_wrap(self) -> None:
        meter = AgreementMeter()
        meter.update({"y": np.array([1], dtype="uint8")}, {"y": np.array([2], dtype="uint8")})
        assert meter.result().max_abs == 1

    def test_a_reference_of_zeros(self) -> None:
        meter = AgreementMeter()
        meter.update({"y": np.zeros(3)}, {"y": np.ones(3)})
        assert meter.result().sqnr_db == -math.inf

    def test_arrays_are_not_changed(self) -> None:
        reference, candidate = outputs(0, dtype="float64"), outputs(1, dtype="float64")
        AgreementMeter().update({"y": reference}, {"y": candidate})
        assert np.array_equal(reference, outputs(0, dtype="float64"))
        assert np.array_equal(candidate, outputs(1, dtype="float64"))

    @pytest.mark.parametrize(
        ("reference", "candidate", "said"),
        [
            ({"y": np.ones(3)}, {"z": np.ones(3)}, "no output 'y', it has: z"),
            ({"y": np.ones(3)}, {"y": np.ones(4)}, "shape"),
            ({"y": np.array([np.nan])}, {"y": np.ones(1)}, "of the reference is NaN"),
        ],
    )
    def test_what_cannot_be_compared(self, reference: dict[str, Array], candidate: dict[str, Array], said: str) -> None:
        with pytest.raises(InputError, match=said):
            AgreementMeter().update(reference, candidate)

    def test_labels_for_one_side_only(self) -> None:
        with pytest.raises(InputError, match="labels"):
            AgreementMeter().update({"y": np.ones(1)}, {"y": np.ones(1)}, np.ones((1, 1, 1)), None)

    def test_nothing_compared(self) -> None:
        with pytest.raises(InputError, match="no outputs"):
            AgreementMeter().result()
