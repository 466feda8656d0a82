import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.benchmarks.statistics import (
    at_least,
    minimum_runs,
    non_inferior,
    paired_bootstrap,
    paired_bootstrap_parts,
    paired_ratio,
    percentiles,
)
from visiondeploy.errors import InputError, UsageError
from visiondeploy.types import Array, Outcome

positive = st.floats(min_value=1e-6, max_value=1e6)


def miou(rows: Array) -> float:
    confusion = rows.sum(axis=0)
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    seen = union > 0
    return float(np.mean(hits[seen] / union[seen])) if seen.any() else math.nan


def confusions(n: int, classes: int, seed: int, hits: int) -> Array:
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 50, size=(n, classes, classes))
    return rows + np.eye(classes, dtype=np.int64) * generator.integers(hits, hits + 500, size=(n, 1, 1))


class TestMinimumRuns:
    @pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99, 0.999])
    def test_is_the_smallest_n_whose_largest_value_bounds_the_quantile(self, quantile: float) -> None:
        n = minimum_runs(quantile)
        assert 1 - quantile**n >= 0.95 > 1 - quantile ** (n - 1)

    @pytest.mark.parametrize(("quantile", "confidence"), [(0, 0.95), (1, 0.95), (0.5, 1), (math.nan, 0.95)])
    def test_refuses_what_is_no_quantile(self, quantile: float, confidence: float) -> None:
        with pytest.raises(UsageError, match="between 0 and 1"):
            minimum_runs(quantile, confidence)


class TestPercentiles:
    @pytest.mark.parametrize(("n", "known"), [(4, 0), (5, 1), (28, 1), (29, 2), (298, 2), (299, 3)])
    def test_quotes_only_what_the_runs_support(self, n: int, known: int) -> None:
        found = percentiles(np.arange(1.0, n + 1))
        assert [found.p50, found.p90, found.p99].count(None) == 3 - known
        assert found.n == n

    def test_values(self) -> None:
        found = percentiles(np.arange(1.0, 1001))
        assert found.p50 == pytest.approx(500.5)
        assert found.p90 == pytest.approx(900.5, abs=1)
        assert found.p99 == pytest.approx(990.5, abs=1)

    def test_nothing_of_nothing(self) -> None:
        assert percentiles([]).p50 is None

    @given(st.lists(positive, min_size=299, max_size=320))
    @settings(max_examples=25, deadline=None, derandomize=True)
    def test_rise_and_lie_within_the_values(self, values: list[float]) -> None:
        found = percentiles(values)
        assert found.p50 is not None
        assert found.p90 is not None
        assert found.p99 is not None
        # Interpolation between equal neighbours may round by a last place.
        slack = 1 + 1e-12
        assert min(values) <= found.p50 * slack
        assert found.p50 <= found.p90 * slack
        assert found.p90 <= found.p99 * slack
        assert found.p99 <= max(values) * slack


class TestPairedRatio:
    def test_drift_that_meets_both_alike_cancels(self) -> None:
        drift = np.exp(np.random.default_rng(0).normal(0, 0.5, size=9))
        found = paired_ratio(300 * drift, 100 * drift)
        assert found.value == pytest.approx(3)
        assert found.ci95 == pytest.approx((3, 3))
        assert found.n == 9

    def test_identical_data_warn_of_nothing(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = paired_ratio([2.0] * 30, [2.0] * 30)
        assert (found.value, found.ci95) == (1.0, (1.0, 1.0))

    def test_more_noise_gives_a_wider_interval(self) -> None:
        noise = np.random.default_rng(1).normal(size=12)
        narrow, wide = (paired_ratio(np.exp(size * noise), np.ones(12)) for size in (0.01, 0.1))
        assert wide.ci95[1] - wide.ci95[0] > 5 * (narrow.ci95[1] - narrow.ci95[0])

    def test_a_disturbed_block_widens_the_interval_and_is_not_dropped(self) -> None:
        quiet = np.array([100.0, 101, 99, 100, 102, 98, 100])
        disturbed = quiet.copy()
        disturbed[3] = 300
        calm, hit = paired_ratio(quiet, np.full(7, 50.0)), paired_ratio(disturbed, np.full(7, 50.0))
        assert hit.value > calm.value
        assert hit.ci95[1] - hit.ci95[0] > 3 * (calm.ci95[1] - calm.ci95[0])

    @pytest.mark.parametrize("blocks", [7, 20])
    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self, blocks: int) -> None:
        generator = np.random.default_rng(blocks)
        held = 0
        for _ in range(200):
            drift = generator.normal(0, 0.2, size=blocks)
            baseline, candidate = (np.exp(drift + generator.normal(0, 0.02, size=blocks)) for _ in range(2))
            low, high = paired_ratio(4 * baseline, candidate).ci95
            held += low <= 4 <= high
        assert 0.90 <= held / 200 <= 0.99

    def test_same_seed_same_interval(self) -> None:
        baseline, candidate = np.random.default_rng(0).uniform(1, 2, size=(2, 8))
        assert paired_ratio(baseline, candidate, seed=4) == paired_ratio(baseline, candidate, seed=4)

    @given(st.lists(st.tuples(positive, positive), min_size=2, max_size=25))
    @settings(max_examples=40, deadline=None, derandomize=True)
    def test_contains_its_estimate_and_inverts_when_swapped(self, pairs: list[tuple[float, float]]) -> None:
        baseline, candidate = np.array(pairs).T
        found, swapped = paired_ratio(baseline, candidate), paired_ratio(candidate, baseline)
        assert found.ci95[0] <= found.value <= found.ci95[1]
        assert math.isclose(found.value * swapped.value, 1, rel_tol=1e-9)

    @pytest.mark.parametrize(
        ("baseline", "candidate"),
        [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0]), ([1.0, 1.0], [math.nan, 1.0])],
    )
    def test_refuses_what_has_no_ratio(self, baseline: list[float], candidate: list[float]) -> None:
        with pytest.raises(UsageError, match="paired ratio"):
            paired_ratio(baseline, candidate)


class TestPairedBootstrap:
    def test_a_hundred_images_take_less_than_a_second(self) -> None:
        baseline, candidate = confusions(101, 11, 0, 4000), confusions(101, 11, 1, 3900)
        began = time.process_time()
        found = paired_bootstrap(miou, baseline, candidate, resamples=2000)
        assert time.process_time() - began < 1
        assert found.value == miou(candidate) - miou(baseline)
        assert found.n == 101

    def test_equal_candidates_differ_by_nothing(self) -> None:
        rows = confusions(20, 5, 0, 100)
        found = paired_bootstrap(miou, rows, rows.copy(), resamples=200)
        assert (found.value, found.ci95) == (0.0, (0.0, 0.0))

    def test_pairing_removes_what_images_have_in_common(self) -> None:
        rows = confusions(60, 4, 0, 0) * np.random.default_rng(2).integers(1, 100, size=(60, 1, 1))
        worse = rows.copy()
        worse[:, 0, 1] += 5
        shuffled = worse[np.random.default_rng(3).permutation(60)]
        paired, unpaired = (paired_bootstrap(miou, rows, other, resamples=500).ci95 for other in (worse, shuffled))
        assert paired[1] - paired[0] < 0.5 * (unpaired[1] - unpaired[0])

    def test_the_sum_gives_what_the_rows_give(self) -> None:
        baseline, candidate = confusions(30, 4, 0, 100), confusions(30, 4, 1, 90)

        def of_rows_only(rows: Array) -> float:
            # Depends on the number of rows too, by less than shows, so that the product cannot be used.
            return miou(rows) + 1e-7 * len(rows)

        by_sum = paired_bootstrap(miou, baseline, candidate, resamples=300)
        by_rows = paired_bootstrap(of_rows_only, baseline, candidate, resamples=300)
        assert by_sum.ci95 == pytest.approx(by_rows.ci95, abs=1e-9)

    def test_a_mean_is_not_mistaken_for_a_sum(self) -> None:
        generator = np.random.default_rng(0)
        baseline = generator.normal(size=(50, 1))
        baseline -= baseline.mean()
        candidate = baseline + generator.normal(0.5, 0.1, size=(50, 1))
        found = paired_bootstrap(lambda rows: float(rows.mean()), baseline, candidate)
        assert found.value == pytest.approx(0.5, abs=0.05)
        assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(50), rel=0.3)

    def test_resamples_without_any_class_are_left_out(self) -> None:
        rows = np.zeros((3, 2, 2), dtype=np.int64)
        rows[0] = [[5, 1], [1, 5]]
        worse = rows.copy()
        worse[0] = [[4, 2], [2, 4]]
        found = paired_bootstrap(miou, rows, worse, resamples=200)
        assert all(math.isfinite(bound) for bound in found.ci95)

    def test_a_metric_that_is_no_number_is_an_input_error(self) -> None:
        with pytest.raises(InputError, match="not a finite number"):
            paired_bootstrap(miou, np.zeros((3, 2, 2)), np.zeros((3, 2, 2)))

    @pytest.mark.parametrize("shapes", [((1, 2, 2), (1, 2, 2)), ((3, 2, 2), (4, 2, 2))])
    def test_refuses_other_samples_and_a_single_one(self, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        with pytest.raises(UsageError, match="two or more samples"):
            paired_bootstrap(miou, np.ones(shapes[0]), np.ones(shapes[1]))

    @given(st.integers(2, 12), st.integers(0, 1000))
    @settings(max_examples=30, deadline=None, derandomize=True)
    def test_contains_its_estimate(self, n: int, seed: int) -> None:
        found = paired_bootstrap(
            miou, confusions(n, 3, seed, 10), confusions(n, 3, seed + 1, 10), resamples=100, seed=seed
        )
        assert found.ci95[0] <= found.value <= found.ci95[1]


def mean(rows: Array) -> float:
    return float(rows[:, 0].sum() / rows[:, 1].sum())


def iou(rows: Array) -> Array:
    confusion = rows.sum(axis=0)
    hits = np.diag(confusion).astype(float)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


class TestStrata:
    def values(self, n: int, between: float) -> tuple[Array, Array, list[str]]:
        """Two towns, in which the candidate loses differently much."""
        generator = np.random.default_rng(0)
        towns = ["a", "b"] * (n // 2)
        loss = generator.normal(0, 0.01, n) + np.where(np.arange(n) % 2, between, -between)
        ones = np.ones(n)
        return np.stack([ones, ones], axis=1), np.stack([ones - loss, ones], axis=1), towns

    def test_narrower_where_strata_differ_and_the_same_where_not(self) -> None:
        for between, share in ((0.1, 0.09), (0.0, 1.0)):
            baseline, candidate, towns = self.values(60, between)
            plain = paired_bootstrap(mean, baseline, candidate, resamples=600)
            within = paired_bootstrap(mean, baseline, candidate, resamples=600, strata=towns)
            assert within.value == plain.value
            assert np.ptp(within.ci95) == pytest.approx(share * np.ptp(plain.ci95), rel=0.35)

    def test_one_stratum_is_none(self) -> None:
        rows, worse = confusions(20, 3, 0, 100), confusions(20, 3, 1, 90)
        plain, within = (paired_bootstrap(miou, rows, worse, resamples=200, strata=s) for s in (None, ["all"] * 20))
        assert plain == within

    @given(st.lists(st.integers(0, 4), min_size=2, max_size=15))
    @settings(max_examples=25, deadline=None, derandomize=True)
    def test_any_strata_hold_the_estimate(self, strata: list[int]) -> None:
        n = len(strata)
        found = paired_bootstrap(
            miou, confusions(n, 3, n, 50), confusions(n, 3, n + 1, 50), resamples=60, strata=strata
        )
        assert found.ci95[0] <= found.value <= found.ci95[1]
        if n > 3:
            assert found.ci95[0] < found.ci95[1], "strata of one sample have no spread of their own"

    def test_each_sample_has_one(self) -> None:
        with pytest.raises(UsageError, match="each of 3 samples has a stratum, found 2"):
            paired_bootstrap(mean, np.ones((3, 2)), np.ones((3, 2)), strata=["a", "b"])


class TestParts:
    def test_each_class_as_by_itself(self) -> None:
        rows, worse = confusions(30, 4, 0, 100), confusions(30, 4, 1, 90)
        found = paired_bootstrap_parts(iou, rows, worse, resamples=200, seed=5)
        for number, one in enumerate(found):
            alone = paired_bootstrap(lambda r, number=number: float(iou(r)[number]), rows, worse, resamples=200, seed=5)
            assert one is not None
            assert (one.value, one.n) == (pytest.approx(alone.value), 30)
            assert one.ci95 == pytest.approx(alone.ci95)

    def test_a_class_in_three_images_has_the_certainty_of_three(self) -> None:
        rows = np.zeros((40, 2, 2), dtype=np.int64)
        rows[:, 0, 0] = 100
        rows[:3, 1] = (10, 50)
        worse = rows.copy()
        worse[0, 1] = (30, 30)
        common, rare = paired_bootstrap_parts(iou, rows, worse, resamples=300)
        assert common is not None
        assert rare is not None
        assert (common.n, rare.n) == (40, 3)

    def test_of_a_class_in_one_image_or_in_none_nothing_is_said(self) -> None:
        rows = np.zeros((10, 3, 3), dtype=np.int64)
        rows[:, 0, 0] = 100
        rows[0, 1, 1] = 50
        first, once, never = paired_bootstrap_parts(iou, rows, rows.copy(), resamples=100)
        assert first is not None
        assert (once, never) == (None, None)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("interval", "outcome"),
        [
            ((-0.009, 0.01), Outcome.PASS),
            ((-0.01, 0.01), Outcome.PASS),
            ((-0.011, 0.01), Outcome.INCONCLUSIVE),
            ((-0.03, -0.01), Outcome.INCONCLUSIVE),
            ((-0.03, -0.011), Outcome.FAIL),
            (None, Outcome.INCONCLUSIVE),
            ((math.nan, 1.0), Outcome.INCONCLUSIVE),
        ],
    )
    def test_non_inferior(self, interval: tuple[float, float] | None, outcome: Outcome) -> None:
        assert non_inferior(interval, 0.01) is outcome

    def test_equal_outputs_pass_a_margin_of_zero(self) -> None:
        assert non_inferior((0.0, 0.0), 0.0) is Outcome.PASS

    @pytest.mark.parametrize("margin", [-0.01, math.nan, math.inf])
    def test_refuses_what_is_no_margin(self, margin: float) -> None:
        with pytest.raises(UsageError, match="margin"):
            non_inferior((0.0, 0.0), margin)

    @given(st.tuples(positive, positive).map(lambda pair: (min(pair), max(pair))), positive)
    @settings(deadline=None, derandomize=True)
    def test_a_limit_passes_fails_or_is_straddled(self, interval: tuple[float, float], limit: float) -> None:
        outcome = at_least(interval, limit)
        assert (outcome is Outcome.PASS) == (limit <= interval[0])
        assert (outcome is Outcome.FAIL) == (limit > interval[1])

    def test_a_limit_is_finite(self) -> None:
        with pytest.raises(UsageError, match="finite"):
            at_least((1.0, 2.0), math.inf)
