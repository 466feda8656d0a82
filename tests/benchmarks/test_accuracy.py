import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.pixels import Pixels, PixelTask, Threshold

from visiondeploy.benchmarks.accuracy import chosen, compare, evaluate, quality
from visiondeploy.errors import InputError, UsageError


class TestChosen:
    @given(st.integers(1, 500), st.one_of(st.none(), st.integers(1, 600)))
    @settings(deadline=None, derandomize=True)
    def test_different_rising_and_as_many_as_asked(self, length: int, limit: int | None) -> None:
        indices = chosen(length, limit)
        assert len(indices) == min(length, limit or length)
        assert list(indices) == sorted(set(indices))
        assert indices[0] >= 0
        assert indices[-1] < length

    def test_spreads_over_the_split(self) -> None:
        assert chosen(100, 4) == (0, 25, 50, 75)

    def test_refuses(self) -> None:
        with pytest.raises(UsageError, match="1 or more, found 0"):
            chosen(5, 0)
        with pytest.raises(InputError, match="no samples"):
            chosen(0, None)


class TestEvaluate:
    def test_rows_in_order_whatever_the_batch(self) -> None:
        task, session = PixelTask(), Threshold(0.4)
        one = evaluate(session, task, Pixels(7))
        assert one.shape == (7, 2)
        assert np.array_equal(evaluate(session, task, Pixels(7), batch=3), one)
        assert session.batches[-3:] == [3, 3, 1]

    def test_progress_and_limit(self) -> None:
        seen: list[tuple[int, int]] = []
        split = Pixels(10)
        evaluate(
            Threshold(), PixelTask(), split, limit=5, batch=2, progress=lambda done, total: seen.append((done, total))
        )
        assert seen == [(2, 5), (4, 5), (5, 5)]
        assert split.reads == [0, 2, 4, 6, 8]

    def test_refuses_a_batch_of_none(self) -> None:
        with pytest.raises(UsageError, match="batch"):
            evaluate(Threshold(), PixelTask(), Pixels(2), batch=0)


class TestCompare:
    def test_one_pass_gives_what_evaluate_gives(self) -> None:
        split, task = Pixels(6), PixelTask()
        found = compare(Threshold(), {"same": Threshold(), "other": Threshold(0.3)}, task, split)
        assert split.reads == list(range(6))
        assert np.array_equal(found.reference, evaluate(Threshold(), task, Pixels(6)))
        assert np.array_equal(found.scores["other"], evaluate(Threshold(0.3), task, Pixels(6)))
        same, other = found.agreements["same"], found.agreements["other"]
        assert (same.sqnr_db, same.pixels, same.samples) == (math.inf, 1.0, 6)
        assert other.max_abs == pytest.approx(0.2)
        assert other.pixels is not None
        assert other.pixels < 1

    def test_a_candidate_of_nan_is_reported(self) -> None:
        found = compare(Threshold(), {"broken": Threshold(offset=math.nan)}, PixelTask(), Pixels(2))
        assert found.agreements["broken"].sqnr_db == -math.inf
        assert found.nonfinite["broken"] == 2 * 2 * 4 * 6
        assert found.scores["broken"].shape == (2, 2)

    def test_what_cannot_be_compared_is_named(self) -> None:
        with pytest.raises(InputError, match=r"^int8 cannot be compared on sample '000': output 'logits' of the ref"):
            compare(Threshold(offset=math.nan), {"int8": Threshold()}, PixelTask(), Pixels(2))


class TestQuality:
    def test_goes_into_a_report(self) -> None:
        task = PixelTask()
        found = compare(Threshold(), {"other": Threshold(0.45)}, task, Pixels(20))
        row = quality(task.metrics[0], found.reference, found.scores["other"])
        assert (row.metric, row.baseline, row.n) == ("accuracy", 1.0, 20)
        assert row.delta == row.value - 1
        assert row.ci95 is not None
        assert row.ci95[0] < row.delta < row.ci95[1] < 0
        assert row.per_class["road"].value == row.value
        assert row.per_class["tree"].value is None

    def test_one_sample_has_no_interval(self) -> None:
        rows = np.array([[3, 4]])
        assert quality(PixelTask().metrics[0], rows, rows).ci95 is None

    def test_no_truth_is_an_input_error(self) -> None:
        with pytest.raises(InputError, match="accuracy of the candidate is nan"), np.errstate(invalid="ignore"):
            quality(PixelTask().metrics[0], np.zeros((3, 2)), np.zeros((3, 2)))
