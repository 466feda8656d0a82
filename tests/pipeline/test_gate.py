"""The verdict: what passes, what fails, and what nothing can be said of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.reports import baseline, broken, int8, loss, not_run, quality

from visiondeploy.benchmarks.report.measured import Latency, Likeness
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, ClassQuality
from visiondeploy.pipeline.gate import classes_check, parity_check, precision_check, row_checks, verdict
from visiondeploy.pipeline.recipe import LimitSettings
from visiondeploy.types import Layer, Outcome, Realised

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
decibels = st.floats(-50, 200)
shares = st.floats(0, 1)


class TestParity:
    @pytest.mark.parametrize(
        ("found", "status", "said"),
        [
            (AgreementRow(sqnr_db=30.0), PASS, "30.0 dB"),
            (AgreementRow(sqnr_db=29.99), FAIL, "30.0 dB"),
            (AgreementRow(exact=True), PASS, "equal"),
            (AgreementRow(finite=False), FAIL, "not finite"),
            (AgreementRow(), FAIL, "not finite"),
        ],
    )
    def test_of_values(self, found, status, said) -> None:
        check = parity_check("parity int8", found, 30, None)
        assert (check.name, check.limit, check.found, check.status) == ("parity int8", "SQNR ≥ 30 dB", said, status)

    @pytest.mark.parametrize(
        ("sqnr_db", "pixels", "status"), [(40, 0.98, PASS), (40, 0.97, PASS), (40, 0.96, FAIL), (20, 1.0, FAIL)]
    )
    def test_of_classes_too(self, sqnr_db, pixels, status) -> None:
        check = parity_check("parity int8", AgreementRow(sqnr_db=sqnr_db, pixels=pixels), 30, 0.97)
        assert check.status is status
        assert check.limit == "SQNR ≥ 30 dB, 97.00% of pixels agree"

    def test_of_classes_where_the_task_has_none(self) -> None:
        assert parity_check("parity", AgreementRow(sqnr_db=40), 30, 0.97).status is PASS

    @pytest.mark.parametrize(("pixels", "status"), [(1.0, PASS), (0.999, PASS), (0.9989, FAIL)])
    def test_of_class_maps(self, pixels, status) -> None:
        check = classes_check("parity", AgreementRow(outputs="classes", pixels=pixels), 0.999)
        assert (check.limit, check.status) == ("99.90% of pixels agree", status)

    def test_class_maps_pass_no_limit_in_decibels(self) -> None:
        for pixels, exact, status in ((0.9999, False, FAIL), (1.0, True, PASS)):
            found = AgreementRow(outputs="classes", pixels=pixels, exact=exact)
            assert parity_check("parity", found, 0, None).status is status

    def test_values_without_classes_pass_no_share_of_pixels(self) -> None:
        assert classes_check("parity", AgreementRow(sqnr_db=90), 0.5).status is FAIL

    @given(decibels, decibels, shares, shares)
    def test_a_looser_limit_never_fails_what_a_tighter_one_passes(self, sqnr_db, limit, pixels, share) -> None:
        found = AgreementRow(sqnr_db=sqnr_db, pixels=pixels)
        if parity_check("parity", found, limit, share).status is PASS:
            assert parity_check("parity", found, limit - 1, share / 2).status is PASS
            assert parity_check("parity", found, limit, None).status is PASS
        else:
            assert sqnr_db < limit or pixels < share


class TestRow:
    def test_a_loss_passes_only_if_its_whole_interval_does(self) -> None:
        limits = LimitSettings(max_drop=1)
        for low, high, status in ((-0.009, 0.001, PASS), (-0.02, 0.001, INCONCLUSIVE), (-0.03, -0.011, FAIL)):
            row = int8().model_copy(update={"quality": quality((low + high) / 2, low, high)})
            agreement, check = row_checks(row, limits, trained=True)
            assert agreement.name == "unet-int8-openvino: agreement"
            assert check.status is status
            assert check.name == "unet-int8-openvino: miou"
            assert check.limit == "at most 1 points below the baseline"
            assert f"95 % interval {low * 100:+.2f} to {high * 100:+.2f}" in check.found

    @pytest.mark.parametrize(
        ("rise", "low", "high", "status"),
        [(-5, -6, -4, PASS), (1, -1, 2.9, PASS), (2, 1, 3.1, INCONCLUSIVE), (5, 4, 6, FAIL)],
    )
    def test_a_loss_is_judged_by_how_much_it_rose(self, rise, low, high, status) -> None:
        row = int8().model_copy(update={"quality": loss(rise, low, high), "agreement": None})
        (check,) = row_checks(row, LimitSettings(max_rise=3, max_drop=0), trained=True)
        assert check.status is status
        assert check.limit == "at most 3 % above the baseline"
        assert check.found == f"{rise:+.2f} %, 95 % interval {low:+.2f} to {high:+.2f}"

    def test_every_metric_that_is_judged_has_its_check(self) -> None:
        told = loss(50, 40, 60, "flicker").model_copy(update={"judged": False})
        more = (loss(9, 8, 10, "content_loss"), told)
        row = int8().model_copy(update={"quality": loss(1, 0, 2), "more": more, "agreement": None})
        found = row_checks(row, LimitSettings(), trained=True)
        assert [(check.name.split(": ")[1], check.status) for check in found] == [
            ("style_loss", PASS),
            ("content_loss", FAIL),
        ]

    @pytest.mark.parametrize(
        ("interval", "status"), [((0.96, 0.98), PASS), ((0.94, 0.96), INCONCLUSIVE), ((0.8, 0.9), FAIL)]
    )
    def test_pictures_are_to_be_like_the_baselines(self, interval, status) -> None:
        alike = {
            "ssim": Likeness(value=sum(interval) / 2, ci95=interval, n=7),
            "psnr_db": Likeness(value=9, ci95=None, n=7),
        }
        row = int8().model_copy(update={"quality": loss(0, 0, 0), "agreement": None, "likeness": alike})
        check = row_checks(row, LimitSettings(ssim=0.95), trained=True)[-1]
        assert (check.name, check.limit, check.status) == ("unet-int8-openvino: ssim", "at least 0.95", status)
        compressed = row_checks(row, LimitSettings(ssim=0.95), trained=True, compressed=True)
        assert not any("ssim" in check.name for check in compressed), "it is another network"

    def test_a_single_image_shows_nothing_and_no_interval_is_claimed(self) -> None:
        found = quality(-0.003, -0.01, 0.01).model_copy(update={"ci95": None, "n": 1})
        _, check = row_checks(int8().model_copy(update={"quality": found}), LimitSettings(), trained=True)
        assert (check.status, check.found) == (INCONCLUSIVE, "-0.30 points on a single image")

    def test_pixels_are_counted_on_all_that_was_measured(self) -> None:
        for limit, status in ((0.3, PASS), (0.31, FAIL)):
            found = AgreementRow(pixels=0.30, sqnr_db=40.0, samples=101)
            row = int8().model_copy(update={"agreement": found})
            check = row_checks(row, LimitSettings(agreement=limit), trained=True)[0]
            assert (check.status, check.found) == (status, "30.00% on 101 images")

    def test_the_pixels_of_a_compressed_network_are_not_counted_and_its_metric_is(self) -> None:
        row = int8().model_copy(update={"agreement": AgreementRow(pixels=0.3, sqnr_db=3.0, samples=101)})
        limits = LimitSettings(max_drop=1, agreement=0.99)
        checks = row_checks(row, limits, trained=True, compressed=True)
        assert [(check.name, check.status) for check in checks] == [("unet-int8-openvino: miou", PASS)]
        worse = row.model_copy(update={"quality": quality(-0.05, -0.06, -0.04)})
        assert [check.status for check in row_checks(worse, limits, trained=True, compressed=True)] == [FAIL]
        found = verdict([], [baseline(), row], limits, trained=True, compressed=True)
        assert found.status is PASS
        assert verdict([], [baseline(), row], limits, trained=True).status is FAIL

    def test_those_that_are_no_numbers_are_a_failure_of_it_too(self) -> None:
        row = int8().model_copy(update={"agreement": AgreementRow(finite=False, samples=4)})
        assert row_checks(row, LimitSettings(), trained=True, compressed=True)[0].found == "NaN or infinity"

    def test_outputs_that_are_no_numbers_fail_even_with_random_weights(self) -> None:
        row = int8().model_copy(update={"agreement": AgreementRow(pixels=0.9, finite=False, samples=4)})
        for trained in (False, True):
            check = row_checks(row, LimitSettings(), trained=trained)[0]
            assert (check.status, check.found) == (FAIL, "NaN or infinity")

    def test_the_quality_of_random_weights_is_not_judged(self) -> None:
        row = int8().model_copy(update={"quality": quality(-0.5, -0.6, -0.4)})
        assert row_checks(row, LimitSettings(), trained=False) == []

    def test_strict_fails_on_a_layer_in_another_precision(self) -> None:
        checks = row_checks(int8(), LimitSettings(strict=True), trained=False)
        assert [(c.name, c.limit, c.found, c.status) for c in checks] == [
            ("unet-int8-openvino: precision", "every layer in int8", "4 in fp32", FAIL)
        ]
        whole = int8().model_copy(update={"realised": {"int8": 27}})
        assert row_checks(whole, LimitSettings(strict=True), trained=False) == []

    def test_an_engine_that_does_not_run_fails_with_its_reason(self) -> None:
        (check,) = row_checks(broken(), LimitSettings(), trained=True)
        assert (check.name, check.status, check.found) == ("unet-int8-broken: runs", FAIL, broken().reason)

    def test_an_engine_whose_runtime_is_not_here_shows_nothing(self) -> None:
        (check,) = row_checks(not_run(), LimitSettings(), trained=True)
        assert (check.status, check.found) == (INCONCLUSIVE, not_run().reason)

    def test_of_one_that_was_built_and_not_run_strict_judges_what_was_built(self) -> None:
        row = not_run().model_copy(update={"realised": {"int8": 19, "fp32": 4}})
        assert [c.status for c in row_checks(row, LimitSettings(), trained=True)] == [INCONCLUSIVE]
        runs, precision = row_checks(row, LimitSettings(strict=True), trained=True)
        assert (runs.status, precision.status, precision.found) == (INCONCLUSIVE, FAIL, "4 in fp32")


class TestTogether:
    """What is decided of many checks in one verdict."""

    def row(self, name="unet-int8-openvino", found=None, **fields):
        return int8().model_copy(update={"name": name, "quality": found or quality(-0.001, -0.003, 0.001), **fields})

    def test_a_p_value_and_what_would_decide(self) -> None:
        _, good = row_checks(self.row(), LimitSettings(), trained=True)
        assert (good.status, good.needed) == (PASS, None)
        assert 0 < good.p_value <= 0.025
        _, open_ = row_checks(self.row(found=quality(-0.003, -0.006, 0.0)), LimitSettings(), trained=True)
        assert open_.status is INCONCLUSIVE
        assert open_.needed.endswith("images in all would decide")

    def test_eight_engines_that_barely_pass_alone_are_not_shown_to(self) -> None:
        barely = quality(-0.002, -0.0049, 0.0009)
        assert row_checks(self.row(found=barely), LimitSettings(), trained=True)[1].status is PASS
        rows = [
            baseline(),
            *(self.row(f"engine-{n}", barely) for n in range(7)),
            self.row("bad", quality(-0.02, -0.045, 0.005)),
        ]
        found = verdict([], rows, LimitSettings(), trained=True)
        checks = [check for check in found.checks if check.name.endswith("miou")]
        assert {check.status for check in checks} == {INCONCLUSIVE}
        assert checks[0].found == (
            "-0.20 points, 95 % interval -0.49 to +0.09, which clears the limit, but not by enough for 8 checks at once"
        )

    def test_checks_without_a_test_do_not_count(self) -> None:
        barely = quality(-0.002, -0.0049, 0.0009)
        parity = [Check(name=f"{n}", limit="", found="", status=PASS) for n in range(20)]
        assert verdict(parity, [baseline(), self.row(found=barely)], LimitSettings(), trained=True).status is PASS

    def test_the_worst_class(self) -> None:
        classes = {
            "road": ClassQuality(value=0.9, baseline=0.9, ci95=(-0.01, 0.01), n=101),
            "pole": ClassQuality(value=0.3, baseline=0.4, ci95=(-0.12, -0.08), n=50),
            "bus": ClassQuality(value=None, baseline=0.0),
        }
        found = quality(-0.001, -0.003, 0.001).model_copy(update={"per_class": classes})
        for limit, status, first in ((5, FAIL, "pole -10.00"), (11, INCONCLUSIVE, "pole"), (13, PASS, "pole")):
            check = row_checks(self.row(found=found), LimitSettings(worst_class_drop=limit), trained=True)[-1]
            assert check.name == "unet-int8-openvino: worst class"
            assert check.limit == f"no class more than {limit} points below the baseline"
            assert (check.status, check.found.startswith(first)) == (status, True)

    def test_classes_that_were_not_measured_show_nothing(self) -> None:
        check = row_checks(self.row(), LimitSettings(worst_class_drop=5), trained=True)[-1]
        assert (check.status, check.found) == (INCONCLUSIVE, "not measured")

    def test_a_speed_up(self) -> None:
        for limit, status in ((4, PASS), (8.9, INCONCLUSIVE), (12, FAIL)):
            check = row_checks(int8(), LimitSettings(min_speedup=limit), trained=False)[-1]
            assert (check.name, check.status) == ("unet-int8-openvino: speed-up", status)
            assert check.found == "8.91×, 95 % interval 8.72 to 9.03"
            assert check.limit == f"at least {limit:g}× the baseline's speed"

    def test_an_interval_of_a_speed_up_that_barely_clears_was_looked_at_too_often(self) -> None:
        check = row_checks(int8(), LimitSettings(min_speedup=8.7), trained=False)[-1]
        assert check.status is INCONCLUSIVE
        assert check.found.endswith("not by enough for a series that was looked at while it was measured")

    def test_what_more_blocks_would_take_is_said_in_seconds(self) -> None:
        latency = Latency(p50=300.0, p90=None, p99=None, n=14, raw=(500.0,) * 14, blocks=(500.0,) * 7)
        rows = [baseline(latency_ms=latency), int8().model_copy(update={"latency_ms": latency})]
        check = verdict([], rows, LimitSettings(min_speedup=8.7), trained=False).checks[-1]
        assert re.fullmatch(r"about \d+ more blocks \(\d+ s\) would decide", check.needed)


class TestPrecision:
    """Layers held against the types that their graph asks for."""

    def layers(self, *pairs: tuple[str, str | None]) -> Realised:
        found = [Layer(f"conv{n}", "Conv", compute, "cuda", wanted) for n, (compute, wanted) in enumerate(pairs)]
        return Realised(tuple(found), {})

    def test_passes_where_each_is_as_asked(self) -> None:
        check = precision_check("tensorrt-rtx", self.layers(("int8", "int8"), ("fp32", "fp32"), ("int8", "int8")))
        assert (check.name, check.limit, check.found, check.status) == (
            "precision tensorrt-rtx",
            "each of 3 layers in the type that its graph asks for",
            "2 in int8, 1 in fp32",
            PASS,
        )

    def test_names_each_that_is_not(self) -> None:
        check = precision_check("tensorrt", self.layers(("fp32", "int8"), ("int8", "int8"), ("fp32", "fp16")))
        assert check.status is FAIL
        assert check.found == "1 in fp32 instead of int8, 1 in fp32 instead of fp16 (conv0, conv2)"

    def test_names_forty_of_many(self) -> None:
        found = precision_check("tensorrt", self.layers(*[("fp32", "int8")] * 50)).found
        assert found.startswith("50 in fp32 instead of int8 (conv0, ")
        assert found.endswith(", conv39, …)")

    def test_tf32_is_what_was_allowed(self) -> None:
        assert precision_check("tensorrt", self.layers(("tf32", "fp32"))).status is PASS
        assert precision_check("tensorrt", self.layers(("tf32", "fp16"))).status is FAIL

    def test_says_nothing_of_a_backend_that_does_not_tell(self) -> None:
        assert precision_check("openvino", self.layers(("fp32", None))) is None
        assert precision_check("openvino", self.layers()) is None


class TestVerdict:
    def test_the_baseline_is_not_judged_against_itself(self) -> None:
        off = baseline(realised={"int8": 27})
        assert verdict([], [off], LimitSettings(strict=True), trained=True).checks == ()

    @given(st.lists(st.sampled_from(Outcome), max_size=5))
    def test_is_as_bad_as_the_worst_check(self, outcomes) -> None:
        checks = [Check(name=f"{n}", limit="", found="", status=outcome) for n, outcome in enumerate(outcomes)]
        found = verdict(checks, [baseline()], LimitSettings(), trained=True)
        expected = FAIL if FAIL in outcomes else PASS if set(outcomes) == {PASS} else INCONCLUSIVE
        assert found.status is expected
        assert [check.status for check in found.checks] == outcomes
