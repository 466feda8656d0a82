"""What PASS, FAIL and INCONCLUSIVE promise, and what would decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.benchmarks.decisions import (
    LEVEL,
    Claim,
    Decision,
    Evidence,
    decide,
    decide_ratio,
    holm,
    needed,
    of_estimate,
    p_broken,
    p_held,
)
from visiondeploy.benchmarks.statistics import at_least, paired_bootstrap
from visiondeploy.errors import UsageError
from visiondeploy.types import Outcome

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
shares = st.floats(0, 1)
numbers = st.floats(-5, 5)
property_test = settings(max_examples=40, deadline=None, derandomize=True)


def evidence(value: float, half: float, n: int = 101, *, peeked: bool = False) -> Evidence:
    return Evidence(value, (value - half, value + half), n, peeked)


def one(value: float, half: float, limit: float, n: int = 101, *, peeked: bool = False) -> Claim:
    return Claim((evidence(value, half, n, peeked=peeked),), limit)


claims = st.builds(one, numbers, st.floats(0.01, 3), numbers, st.integers(2, 300), peeked=st.booleans())


class TestHolm:
    def test_values(self) -> None:
        assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
        assert holm([]) == ()

    @given(st.lists(shares, min_size=1, max_size=12))
    @property_test
    def test_is_between_no_correction_and_bonferronis_and_keeps_the_order(self, values: list[float]) -> None:
        adjusted = holm(values)
        for value, found in zip(values, adjusted, strict=True):
            assert value <= found <= min(1.0, len(values) * value)
        order = np.argsort(values, kind="stable")
        assert np.all(np.diff(np.array(adjusted)[order]) >= 0)

    @given(st.lists(shares, min_size=1, max_size=8), shares)
    @property_test
    def test_one_more_check_never_makes_another_easier(self, values: list[float], more: float) -> None:
        assert all(new >= old for new, old in zip(holm([*values, more]), holm(values), strict=False))

    def test_one_of_many_true_ones_is_rejected_as_rarely_as_promised(self) -> None:
        generator = np.random.default_rng(0)
        rejected = [min(holm(generator.random(8).tolist())) <= 0.05 for _ in range(2_000)]
        assert np.mean(rejected) <= 0.06


class TestDecide:
    @given(numbers, st.floats(0.0, 3), numbers, st.integers(2, 300))
    @property_test
    def test_a_single_check_is_what_its_interval_says(self, value: float, half: float, limit: float, n: int) -> None:
        (found,) = decide([one(value, half, limit, n)])
        assert found.outcome is found.alone is at_least((value - half, value + half), limit)

    @given(st.lists(claims, min_size=1, max_size=6))
    @property_test
    def test_a_correction_only_ever_takes_an_outcome_back(self, several: list[Claim]) -> None:
        for claim, found in zip(several, decide(several), strict=True):
            (single,) = decide([claim])
            assert found.outcome in {single.outcome, INCONCLUSIVE}
            assert found.alone is single.alone
            assert found.outcome in {found.alone, INCONCLUSIVE}, "a sentence beside the interval would contradict it"
            assert (found.enough is None) == (found.outcome is not INCONCLUSIVE)

    @given(claims)
    @property_test
    def test_both_sides_are_judged_alike(self, claim: Claim) -> None:
        (data,) = claim.evidence
        assert data.ci95 is not None
        mirrored = Evidence(-data.value, (-data.ci95[1], -data.ci95[0]), data.n, data.peeked)
        assert p_held(data, claim.limit) == pytest.approx(p_broken(mirrored, -claim.limit), abs=1e-12)

    @given(claims, st.floats(0, 2))
    @property_test
    def test_a_looser_limit_is_never_harder_to_hold(self, claim: Claim, looser: float) -> None:
        (data,) = claim.evidence
        assert p_held(data, claim.limit - looser) <= p_held(data, claim.limit) + 1e-12
        assert p_broken(data, claim.limit - looser) >= p_broken(data, claim.limit) - 1e-12

    @given(numbers, st.floats(0.05, 2), numbers, st.integers(5, 100), st.integers(2, 20), st.booleans())
    @property_test
    def test_more_of_the_same_decides_and_never_turns(self, value, half, limit, n, times, peeked) -> None:
        (few,) = decide([one(value, half, limit, n, peeked=peeked)])
        (many,) = decide([one(value, half / math.sqrt(times), limit, n * times, peeked=peeked)])
        assert {few.outcome, many.outcome} != {PASS, FAIL}
        if few.outcome is not INCONCLUSIVE and not peeked:
            assert many.outcome is few.outcome

    def test_eight_checks_need_more_than_one(self) -> None:
        claim = one(0.0, 0.49, -0.5)
        (alone,) = decide([claim])
        assert alone.outcome is PASS
        first, *_ = decide([claim, *[one(0, 3.0, -0.5)] * 7])
        assert (first.outcome, first.alone, first.checks) == (INCONCLUSIVE, PASS, 8)
        assert first.p_held is not None
        assert alone.p_held is not None
        assert first.p_held == pytest.approx(8 * alone.p_held)

    def test_without_an_interval_nothing_is_shown_and_it_does_not_count(self) -> None:
        single, other = decide([Claim((Evidence(-9.0, None, 1),), -0.5), one(0, 0.49, -0.5)])
        assert (single.outcome, single.p_held, single.checks) == (INCONCLUSIVE, None, 1)
        assert other.outcome is PASS

    def test_no_change_at_all_holds_a_limit_of_none(self) -> None:
        (found,) = decide([one(0.0, 0.0, 0.0)])
        assert (found.outcome, found.p_held, found.p_broken) == (PASS, 0.0, 1.0)

    def test_nothing_of_nothing(self) -> None:
        assert decide([]) == ()

    @pytest.mark.parametrize("level", [0, 0.5, math.nan])
    def test_refuses_what_is_no_level(self, level: float) -> None:
        with pytest.raises(UsageError, match="level"):
            decide([one(0, 1, 0)], level)

    def test_refuses_what_is_no_limit(self) -> None:
        with pytest.raises(UsageError, match="finite"):
            Claim((evidence(0, 1),), math.inf)
        with pytest.raises(UsageError, match="at least one value"):
            Claim((), 0.0)


class TestWorst:
    """Several values under one limit."""

    def test_passes_if_each_passes_by_itself(self) -> None:
        (found,) = decide([Claim(tuple(evidence(0, 4.9) for _ in range(11)), -5)])
        assert found.outcome is PASS
        (found,) = decide([Claim((*(evidence(0, 4.9) for _ in range(10)), evidence(0, 5.1)), -5)])
        assert (found.outcome, found.index) == (INCONCLUSIVE, 10)

    def test_fails_if_one_fails_after_correction_for_how_many_there_are(self) -> None:
        others = [evidence(0, 1)] * 10
        (found,) = decide([Claim((*others, evidence(-9, 2)), -5)])
        assert (found.outcome, found.index) == (FAIL, 10)
        (barely,) = decide([Claim((*others, evidence(-7.1, 2)), -5)])
        assert (barely.outcome, barely.alone) == (INCONCLUSIVE, FAIL)

    def test_one_that_cannot_be_tested_keeps_it_from_passing_and_not_from_failing(self) -> None:
        unknown = Evidence(-1.0, None, 1)
        (found,) = decide([Claim((evidence(0, 1), unknown), -5)])
        assert (found.outcome, found.index, found.enough) == (INCONCLUSIVE, 1, None)
        (found,) = decide([Claim((evidence(-9, 1), unknown), -5)])
        assert (found.outcome, found.index) == (FAIL, 0)

    def test_eleven_classes_at_their_limit_fail_as_rarely_as_promised(self) -> None:
        generator = np.random.default_rng(1)
        failed = 0
        for _ in range(400):
            data = generator.normal(-5, 2, (11, 30))
            errors = data.std(axis=1, ddof=1) / math.sqrt(30) * 2.0452
            values = tuple(evidence(float(m), float(e), 30) for m, e in zip(data.mean(axis=1), errors, strict=True))
            failed += decide([Claim(values, -5)])[0].outcome is FAIL
        assert failed / 400 <= LEVEL + 0.02


class TestRatio:
    def noise(self, generator: np.random.Generator, blocks: int) -> np.ndarray:
        """A tenth of the blocks of either side is disturbed by 10 %."""
        sides = [generator.normal(0, 0.015, blocks) + 0.1 * (generator.random(blocks) < 0.1) for _ in range(2)]
        return sides[0] - sides[1]

    def until_decided(self, logs: np.ndarray, limit: float) -> Decision:
        found = decide_ratio(logs, limit)
        for blocks in range(7, len(logs), 3):
            found = decide_ratio(logs[:blocks], limit)
            if found.outcome is not INCONCLUSIVE:
                break
        return found

    def test_looking_again_and_again_errs_as_rarely_as_promised(self) -> None:
        generator = np.random.default_rng(2)
        found = [self.until_decided(self.noise(generator, 60), 1.0).outcome for _ in range(200)]
        assert found.count(FAIL) / 200 <= LEVEL
        assert found.count(PASS) / 200 <= LEVEL

    def test_what_lies_clear_of_the_limit_is_found(self) -> None:
        generator = np.random.default_rng(3)
        slower = [self.until_decided(self.noise(generator, 60) - math.log(1.1), 1 / 1.05) for _ in range(50)]
        equal = [self.until_decided(self.noise(generator, 60), 1 / 1.05) for _ in range(50)]
        assert [found.outcome for found in slower].count(FAIL) >= 45
        assert [found.outcome for found in equal].count(PASS) >= 45

    @given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40), st.floats(0.5, 2))
    @property_test
    def test_swapping_the_sides_swaps_the_p_values(self, logs: list[float], limit: float) -> None:
        found, swapped = decide_ratio(logs, limit), decide_ratio([-log for log in logs], 1 / limit)
        assert found.p_held is not None
        assert swapped.p_broken is not None
        assert found.p_held == pytest.approx(swapped.p_broken, rel=1e-6, abs=1e-9) or np.ptp(logs) < 1e-9

    @given(st.integers(2, 60), numbers)
    @property_test
    def test_looking_costs_and_is_never_free(self, n: int, value: float) -> None:
        peeked, planned = (p_held(evidence(value, 1, n, peeked=looked), 0.0) for looked in (True, False))
        assert peeked >= min(planned, 0.5)

    def test_one_block_shows_nothing(self) -> None:
        assert decide_ratio([0.5], 1.0).outcome is INCONCLUSIVE

    def test_of_a_ratio_is_tested_in_logarithms(self) -> None:
        found = Evidence.of_ratio(2.0, (1.8, 2.2), 20)
        assert (found.value, found.n, found.peeked) == (math.log(2), 20, True)
        assert not Evidence.of_ratio(2.0, (2.0, 2.0), 1).tested

    @pytest.mark.parametrize("limit", [0, -1, math.nan])
    def test_refuses_what_is_no_ratio(self, limit: float) -> None:
        with pytest.raises(UsageError, match="positive"):
            decide_ratio([0.1, 0.2], limit)


class TestEnough:
    @given(numbers, st.floats(0.05, 2), numbers, st.integers(5, 200), st.booleans())
    @property_test
    def test_so_much_data_decide_and_more_than_there_are(self, value, half, limit, n, peeked) -> None:
        claim = one(value, half, limit, n, peeked=peeked)
        (found,) = decide([claim])
        if found.enough is None or math.isinf(found.enough):
            return
        assert found.enough > n
        (more,) = decide([one(value, half * math.sqrt(n / found.enough), limit, int(found.enough), peeked=peeked)])
        assert more.outcome is (PASS if value > limit else FAIL)

    def test_so_many_images_decide_in_four_of_five(self) -> None:
        # Standard deviation 2, a distance to the limit of 0.5: 128, as tables of the t-test's power have it.
        (found,) = decide([one(0.0, 2 * 2.0096 / math.sqrt(50), -0.5, 50)])
        assert found.enough == pytest.approx(128, abs=2)

    def test_words(self) -> None:
        claim = one(0.0, 2 * 2.0096 / math.sqrt(50), -0.5, 50)
        (found,) = decide([claim])
        assert needed(claim, found, "images") == "about 130 images in all would decide"
        assert needed(claim, found, "blocks", 0.5) in {f"about {n} more blocks (39 s) would decide" for n in (77, 78)}

    def test_at_the_limit_no_number_would(self) -> None:
        claim = one(-0.5, 0.2, -0.5)
        (found,) = decide([claim])
        assert found.enough == math.inf
        assert "lies at the limit" in str(needed(claim, found, "images"))

    def test_of_a_single_image(self) -> None:
        claim = Claim((Evidence(-0.3, None, 1),), -0.5)
        (found,) = decide([claim])
        assert needed(claim, found, "images") == "more images: one or none shows nothing"

    def test_nothing_where_it_is_decided(self) -> None:
        claim = one(0, 0.1, -0.5)
        assert needed(claim, decide([claim])[0], "images") is None


class TestLevelOfAMetric:
    def test_a_loss_at_the_limit_passes_and_fails_as_rarely_as_promised(self) -> None:
        generator = np.random.default_rng(4)
        outcomes = []
        for number in range(200):
            rows = np.stack([generator.normal(0.5, 0.2, 40), np.ones(40)], axis=1)
            worse = rows + np.stack([generator.normal(-0.05, 0.1, 40), np.zeros(40)], axis=1)
            found = paired_bootstrap(
                lambda of: of[:, 0].sum() / of[:, 1].sum(), rows, worse, resamples=150, seed=number
            )
            outcomes.append(decide([Claim((of_estimate(found),), -0.05)])[0].outcome)
        assert outcomes.count(PASS) / 200 <= 0.06
        assert outcomes.count(FAIL) / 200 <= 0.06
