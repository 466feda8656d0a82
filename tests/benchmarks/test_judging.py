"""Suites over reports: what passes, what fails, what cannot be said, and in which order."""

from __future__ import annotations

import pytest
from kit import reports
from kit.suites import CLASSES, IMAGES, METRIC, latency, report, row, samples, scores, suite

from visiondeploy.benchmarks.case import Case
from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.judging import pairing_notes, verdict
from visiondeploy.benchmarks.reference import Reference
from visiondeploy.benchmarks.report.headline import headline
from visiondeploy.benchmarks.report.measured import Likeness
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Row, Verdict
from visiondeploy.types import Outcome

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
BASE = scores(0.9, 0.7)
NAME = "unet-int8-openvino"
ALIKE = Likeness(value=0.97, ci95=(0.96, 0.98), n=9)
APART = Likeness(value=0.05, ci95=(0.04, 0.06), n=9)
ALONE = Likeness(value=0.97, ci95=None, n=1)


def engine(road: float = 0.9, car: float = 0.7, milliseconds: float = 40.0, name: str = NAME, **fields) -> Row:
    return row(name, milliseconds, scores(road, car, seed=len(name)), BASE, **fields)


def case(*rows: Row, **more) -> Case:
    stored = {each.name: scores(0.9, 0.7, seed=len(each.name)) for each in rows} | {"unet-fp32-pytorch": BASE}
    known = {"samples": samples(stored | more.pop("scores", {})), "metrics": {"miou": METRIC}}
    return Case(report(*rows).model_copy(update={"verdict": Verdict.of([]), **more.pop("report", {})}), **known | more)


def judged(limit: dict, *rows: Row, **more) -> Check:
    """The one check of one limit over one engine."""
    (found,) = verdict(suite(limit), case(*(rows or (engine(),)), **more)).checks
    return found


class TestMetric:
    @pytest.mark.parametrize(("road", "status"), [(0.9, PASS), (0.896, PASS), (0.89, INCONCLUSIVE), (0.85, FAIL)])
    def test_a_drop_in_points_of_the_baselines(self, road, status) -> None:
        """Of one class of two: half of it is the metric's."""
        found = judged({"quantity": "miou", "max_drop": 0.5}, engine(road))
        assert found.status is status
        assert found.limit == "at most 0.5 points below the baseline"
        assert f"{IMAGES} images" in found.found

    def test_what_is_not_decided_says_what_would(self) -> None:
        found = judged({"quantity": "miou", "max_drop": 0.5}, engine(0.8908))
        assert found.status is INCONCLUSIVE
        assert "images in all would decide" in found.needed

    def test_as_it_is_on_these_images(self) -> None:
        assert judged({"quantity": "miou", "min": 0.79}).status is PASS
        assert judged({"quantity": "miou", "min": 0.81}).status is FAIL

    def test_a_loss_is_limited_by_its_rise(self) -> None:
        rows = (engine(quality=reports.loss(1.0, 0.5, 1.5)),)
        assert judged({"quantity": "style_loss", "max_rise": 3.0}, *rows).status is PASS
        assert judged({"quantity": "style_loss", "max_rise": 0.2}, *rows).status is FAIL
        found = judged({"quantity": "style_loss", "max_drop": 3.0}, *rows)
        assert found.status is FAIL
        assert "less is better, so that it is limited by max_rise" in found.found

    def test_one_that_is_not_there_fails_and_names_those_that_are(self) -> None:
        found = judged({"quantity": "mio", "max_drop": 0.5})
        assert (found.status, found.found) == (FAIL, "no metric 'mio' was measured of it, only: miou")

    def test_of_random_weights_nothing_is_said(self) -> None:
        found = judged({"quantity": "miou", "max_drop": 0.5}, trained=False)
        assert found.status is INCONCLUSIVE
        assert "the weights are random" in found.found


class TestWorstClass:
    def test_one_that_lost_while_the_mean_did_not(self) -> None:
        better = engine(0.95, 0.65)
        assert judged({"quantity": "miou", "max_drop": 0.5}, better).status is PASS
        found = judged({"quantity": "worst-class", "max_drop": 2}, better)
        assert found.status is FAIL
        assert f"points ({CLASSES[1]})" in found.found

    def test_its_value(self) -> None:
        assert judged({"quantity": "worst-class", "min": 0.6}).status is PASS
        found = judged({"quantity": "worst-class", "min": 0.75})
        assert (found.status, found.found) == (FAIL, "0.7000 (car)")


class TestTimes:
    @pytest.mark.parametrize(("least", "status"), [(2.0, PASS), (2.5, INCONCLUSIVE), (3.0, FAIL)])
    def test_the_speed_up(self, least, status) -> None:
        found = judged({"quantity": "speedup", "min": least})
        assert found.status is status
        assert (found.needed is None) == (status is not INCONCLUSIVE)

    def test_a_percentile_beside_the_baselines(self) -> None:
        assert judged({"quantity": "p90", "max_ratio": 0.5}).status is PASS
        found = judged({"quantity": "p90", "max_ratio": 0.3})
        assert found.status is FAIL
        assert found.limit == "at most 0.3× the baseline's"

    def test_a_percentile_that_the_runs_do_not_support(self) -> None:
        found = judged({"quantity": "p99", "max_ratio": 0.5})
        assert found.status is INCONCLUSIVE
        assert found.found == "its 240 runs do not support p99"
        assert found.needed == "299 runs (more --seconds) would decide"

    def test_milliseconds_are_those_of_one_machine(self) -> None:
        limit = {"quantity": "p50", "max": 50.0}
        found = judged(limit)
        assert found.status is INCONCLUSIVE
        assert "milliseconds are those of one machine" in found.found
        here = fingerprint(reports.environment())
        assert here[:16] in found.needed
        for machine, status in ((here, PASS), (here[:8], PASS), ("0" * 16, INCONCLUSIVE)):
            (check,) = verdict(suite(limit, measure={"machine": machine}), case(engine())).checks
            assert check.status is status, check
        (check,) = verdict(suite({**limit, "max": 20.0}, measure={"machine": here}), case(engine())).checks
        assert check.status is FAIL


class TestOutputs:
    @pytest.mark.parametrize(
        ("limit", "fields", "status"),
        [
            ({"quantity": "agreement", "min": 0.98}, {}, PASS),
            ({"quantity": "agreement", "min": 0.999}, {}, FAIL),
            ({"quantity": "sqnr", "min": 30.0}, {}, PASS),
            ({"quantity": "sqnr", "min": 40.0}, {}, FAIL),
            ({"quantity": "sqnr", "min": 40.0}, {"agreement": AgreementRow(exact=True)}, PASS),
            (
                {"quantity": "sqnr", "min": 40.0},
                {"agreement": AgreementRow(outputs="classes", pixels=0.9)},
                INCONCLUSIVE,
            ),
            ({"quantity": "agreement", "min": 0.9}, {"agreement": AgreementRow(sqnr_db=50.0)}, INCONCLUSIVE),
            ({"quantity": "agreement", "min": 0.9}, {"agreement": None}, INCONCLUSIVE),
            ({"quantity": "ssim", "min": 0.95}, {"likeness": {"ssim": ALIKE}}, PASS),
            ({"quantity": "ssim", "min": 0.99}, {"likeness": {"ssim": ALIKE}}, FAIL),
            ({"quantity": "lpips", "max": 0.1}, {"likeness": {"lpips": APART}}, PASS),
            ({"quantity": "lpips", "max": 0.01}, {"likeness": {"lpips": APART}}, FAIL),
            ({"quantity": "ssim", "min": 0.9}, {"likeness": {"ssim": ALONE}}, INCONCLUSIVE),
            ({"quantity": "off-precision", "max": 1}, {}, PASS),
            ({"quantity": "off-precision", "max": 0}, {}, FAIL),
            ({"quantity": "off-precision", "max": 0}, {"realised": None}, INCONCLUSIVE),
            ({"quantity": "size", "max": 2e6}, {}, PASS),
            ({"quantity": "size", "max": 1e6}, {}, FAIL),
            ({"quantity": "size", "max_ratio": 0.25}, {}, PASS),
            ({"quantity": "size", "max_ratio": 0.2}, {}, FAIL),
            ({"quantity": "memory", "max_ratio": 0.5}, {"peak_rss_bytes": None}, INCONCLUSIVE),
        ],
    )  # fmt: skip
    def test_of_one_engine(self, limit, fields, status) -> None:
        found = judged(limit, engine(**fields))
        assert found.status is status, found
        assert found.origin == "suite"

    def test_no_numbers_at_all(self) -> None:
        broken = engine(agreement=AgreementRow(finite=False, pixels=0.1))
        found = verdict(suite({"quantity": "speedup", "min": 1.0}), case(broken))
        assert headline(found).startswith(f"FAIL: {NAME}: outputs NaN or infinity")


class TestRows:
    def test_a_limit_that_matches_nothing_fails_and_names_what_is_there(self) -> None:
        (found,) = verdict(suite({"quantity": "miou", "max_drop": 1, "backend": "tensorrt"}), case(engine())).checks
        assert found.status is FAIL
        assert found.name == "limit 1 (miou)"
        assert found.limit == 'rows with backend = "tensorrt"'
        assert found.found == f"it matches no row of: {NAME}"

    def test_an_engine_that_did_not_run(self) -> None:
        for made, status in ((reports.broken(), FAIL), (reports.not_run(), INCONCLUSIVE)):
            found = judged({"quantity": "miou", "max_drop": 1, "rows": made.name}, made, engine())
            assert (found.name, found.status) == (f"{made.name}: runs", status)
            assert found.found == made.reason

    def test_checks_of_the_build_stay_and_those_of_the_recipe_go(self) -> None:
        kept = Check(name="parity int8", limit="", found="3 dB", status=FAIL, origin="build")
        gone = Check(name="miou", limit="", found="", status=FAIL)
        found = verdict(
            suite({"quantity": "miou", "max_drop": 1}), case(engine(), report={"verdict": Verdict.of([kept, gone])})
        )
        assert [check.name for check in found.checks] == ["parity int8", f"{NAME}: miou"]


class TestOrder:
    def test_threads_explain_all_else(self) -> None:
        limits = ({"quantity": "speedup", "min": 5.0}, {"quantity": "miou", "max_drop": 0.1})
        found = verdict(suite(*limits, measure={"threads": 4}), case(engine(0.7)))
        assert headline(found) == "FAIL: threads ran on 2 threads (limit: the suite wants 4), and 2 more"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"cores_available": 1}, "the process may run on 1 core (its affinity)"),
            ({"cpu_quota": 1.5}, "the control group grants the time of 1.5 cores"),
            ({"variables": {"OMP_NUM_THREADS": "1"}}, "OMP_NUM_THREADS is 1"),
        ],
    )
    def test_so_do_cores_that_are_not_there(self, change, words) -> None:
        environment = reports.environment().model_copy(update=change)
        found = verdict(suite({"quantity": "speedup", "min": 5.0}), case(engine(), report={"environment": environment}))
        assert words in headline(found)
        untimed = verdict(
            suite({"quantity": "miou", "max_drop": 1.0}), case(engine(), report={"environment": environment})
        )
        assert untimed.status is PASS

    def test_fewer_images_than_the_suite_wants(self) -> None:
        found = verdict(suite({"quantity": "miou", "max_drop": 1.0}, measure={"images": 101}), case(engine()))
        assert found.status is INCONCLUSIVE
        assert "quality was measured on 40 images" in headline(found)

    def test_outputs_explain_the_metric(self) -> None:
        limits = ({"quantity": "miou", "max_drop": 0.1}, {"quantity": "agreement", "min": 0.98})
        found = verdict(suite(*limits), case(engine(0.7, agreement=AgreementRow(pixels=0.5, samples=IMAGES))))
        assert headline(found).startswith(f"FAIL: {NAME}: agreement 50.00% of pixels")

    def test_the_metric_alone(self) -> None:
        found = verdict(suite({"quantity": "miou", "max_drop": 0.5}), case(engine(0.3)))
        assert headline(found).startswith(f"FAIL: {NAME}: miou −30.0")
        assert "(limit: at most 0.5 points below the baseline)" in headline(found)


class TestReference:
    def stored(self, *rows: Row, **changes) -> tuple[Reference, object]:
        known = samples({each.name: scores(0.9, 0.7, seed=len(each.name)) for each in rows})
        made = Reference.of(report(*rows), known, "0" * 64, CLASSES, "mine", "2026-12-01")
        return made.model_copy(update=changes), known

    def compared(self, limit: dict, before: Row, now: Row, now_scores=None, **changes) -> Check:
        reference, known = self.stored(before, **changes)
        own = {} if now_scores is None else {now.name: now_scores}
        return judged({**limit, "against": "reference"}, now, reference=reference, reference_samples=known, scores=own)

    def test_accuracy_is_compared_image_by_image(self) -> None:
        limit = {"quantity": "miou", "max_drop": 0.5}
        assert self.compared(limit, engine(), engine()).status is PASS
        found = self.compared(limit, engine(), engine(0.85), scores(0.85, 0.7, seed=9))
        assert found.status is FAIL
        assert "at most 0.5 points below the reference" in found.limit

    def test_speed_ups_on_the_same_machine(self) -> None:
        limit = {"quantity": "speedup", "max_slowdown": 10}
        here = fingerprint(reports.environment())
        assert self.compared(limit, engine(), engine(), fingerprint=here).status is PASS
        assert self.compared(limit, engine(), engine(milliseconds=60.0), fingerprint=here).status is FAIL

    def test_no_time_of_another_machine(self) -> None:
        other = reports.environment().model_copy(update={"cpu": "Older 1000"})
        found = self.compared(
            {"quantity": "speedup", "max_slowdown": 10},
            engine(),
            engine(milliseconds=90.0),
            environment=other,
            fingerprint=fingerprint(other),
        )
        assert found.status is INCONCLUSIVE
        assert "not judged: the reference was measured elsewhere (cpu Older 1000, not Testor 9000)" in found.found

    def test_size(self) -> None:
        limit = {"quantity": "size", "max_rise": 5}
        assert self.compared(limit, engine(), engine()).status is PASS
        assert self.compared(limit, engine(), engine(size_bytes=2_200_000)).status is FAIL

    def test_without_one_it_says_how_to_get_one(self) -> None:
        found = judged({"quantity": "miou", "max_drop": 1, "against": "reference"})
        assert found.status is INCONCLUSIVE
        assert "write one with `deploy gate --update`" in found.found

    def test_of_a_row_or_images_that_it_does_not_have(self) -> None:
        limit = {"quantity": "miou", "max_drop": 1, "against": "reference"}
        reference, known = self.stored(engine(name="other"))
        found = judged(limit, reference=reference, reference_samples=known)
        assert (found.status, found.found) == (
            INCONCLUSIVE,
            f"the reference has no row {NAME}, only unet-fp32-pytorch, other",
        )


class TestBase:
    def compared(self, limit: dict, base: Row, now: Row, base_scores=None) -> Check:
        before = base.model_copy(update={"name": f"base:{base.name}", "base": True})
        own = {} if base_scores is None else {before.name: base_scores}
        (found,) = verdict(suite(limit), case(now, before, scores=own)).checks
        return found

    @pytest.mark.parametrize(("milliseconds", "status"), [(40.0, PASS), (44.0, FAIL), (30.0, PASS)])
    def test_a_slow_down(self, milliseconds, status) -> None:
        found = self.compared({"quantity": "speedup", "max_slowdown": 5}, engine(), engine(milliseconds=milliseconds))
        assert found.status is status, found
        assert "of time against the base" in found.found

    def test_of_the_tail(self) -> None:
        slow = engine(latency_ms=latency(50))
        assert self.compared({"quantity": "p90", "max_slowdown": 5, "against": "base"}, engine(), slow).status is FAIL

    def test_a_loss_by_image(self) -> None:
        limit = {"quantity": "miou", "max_drop": 0.5, "against": "base"}
        assert self.compared(limit, engine(), engine()).status is PASS
        assert self.compared(limit, engine(), engine(), scores(0.95, 0.75, seed=3)).status is FAIL

    def test_without_a_base_it_is_not_judged(self) -> None:
        found = judged({"quantity": "speedup", "max_slowdown": 5})
        assert found.status is INCONCLUSIVE
        assert "no base was measured in this run: add --base" in found.found

    def test_engines_that_only_one_has_are_named(self) -> None:
        new = engine(name="new", backend="onnxruntime")
        lost = engine(name="base:lost", backend="tensorrt").model_copy(update={"base": True})
        both = engine(name="base:both").model_copy(update={"base": True})
        rows = (engine(), new, both, lost)
        found = verdict(suite({"quantity": "speedup", "max_slowdown": 50}), case(*rows))
        assert [(check.name, check.status) for check in found.checks] == [
            ("base:lost: engine", INCONCLUSIVE),
            (f"{NAME}: speedup", PASS),
        ]
        assert pairing_notes(report(*rows).rows) == (
            "new is new: the base has no such engine",
            "base:lost: the candidate has no such engine",
        )
        assert pairing_notes(report(engine()).rows) == ()
