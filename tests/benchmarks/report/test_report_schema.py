import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import reports as kit
from pydantic import ValidationError

from visiondeploy.benchmarks.report.measured import Latency, Likeness, Speedup
from visiondeploy.benchmarks.report.parts import OnnxFile
from visiondeploy.benchmarks.report.schema import (
    SCHEMA,
    AgreementRow,
    Check,
    Environment,
    Quality,
    Report,
    Row,
    Verdict,
)
from visiondeploy.errors import InputError
from visiondeploy.types import Agreement, Outcome, Precision, Status

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


# As in the design, without what the contract added later.
CONTRACT = """
{"schema": "visiondeploy.report/1",
 "environment": {"cpu": "...", "threads": 2, "gpu": null, "versions": {"torch": "...", "onnxruntime": "..."}},
 "rows": [{"name": "unet-fp32-pytorch", "model": "unet", "backend": "pytorch", "precision": "fp32",
           "status": "ok", "reason": null,
           "realised": {"fp32": 27}, "parameters": 31043521, "size_bytes": 0, "peak_rss_bytes": 0,
           "quality": {"metric": "miou", "value": 0.5, "baseline": 0.5, "delta": 0.0, "ci95": [0.0, 0.0], "n": 101},
           "agreement": {"pixels": 1.0, "sqnr_db": null},
           "latency_ms": {"p50": 1.0, "p90": 2.0, "p99": null, "n": 30},
           "speedup": {"value": 1.0, "ci95": [1.0, 1.0]}}],
 "verdict": {"status": "PASS", "checks": [{"name": "...", "limit": "...", "found": "...", "status": "PASS"}]}}
"""


def leaves(content: object, path: str = "") -> set[str]:
    if isinstance(content, dict):
        return set().union(*(leaves(value, f"{path}.{key}") for key, value in content.items()), {path})
    if isinstance(content, list):
        return set().union(*(leaves(value, f"{path}[]") for value in content), {path})
    return {path}


class TestContract:
    def test_reads_what_the_design_shows(self) -> None:
        found = Report.from_json(CONTRACT)
        assert found.baseline.parameters == 31043521
        assert found.verdict.status is Outcome.PASS

    def test_writes_every_name_the_design_shows(self) -> None:
        written = json.loads(Report.from_json(CONTRACT).to_json())
        assert leaves(json.loads(CONTRACT)) <= leaves(written)

    def test_fields_of_a_later_writer_are_ignored(self) -> None:
        content = json.loads(CONTRACT)
        content["new"] = content["rows"][0]["new"] = {"a": 1}
        assert Report.from_json(json.dumps(content)) == Report.from_json(CONTRACT)


class TestJson:
    def test_round_trip(self) -> None:
        assert Report.from_json(kit.report().to_json()) == kit.report()
        assert Report.from_json(kit.report().to_json().encode()) == kit.report()

    def test_lists_of_numbers_take_one_line(self) -> None:
        latency = Latency(p50=1, p90=None, p99=None, n=3, raw=(1, 2, 3))
        written = kit.report(kit.baseline(latency_ms=latency)).to_json()
        assert '"raw": [1.0, 2.0, 3.0],\n' in written
        assert written.endswith("}\n")

    @given(st.lists(st.tuples(text, text), max_size=4), st.lists(finite, min_size=2, max_size=2), st.lists(finite))
    @settings(deadline=None, derandomize=True)
    def test_round_trips_whatever_it_holds(
        self, words: list[tuple[str, str]], bounds: list[float], raw: list[float]
    ) -> None:
        low, high = sorted(bounds)
        row = kit.row(
            "candidate",
            words[0][0] if words else "x",
            Precision.INT8,
            stored={key: index for index, (key, _) in enumerate(words)},
            notes=[value for _, value in words],
            quality=Quality(metric="m", value=low, baseline=0.0, delta=low, ci95=(low, high), n=3),
            latency_ms=Latency(p50=None, p90=None, p99=None, n=len(raw), raw=raw),
        )
        report = kit.report(kit.baseline(), row)
        assert Report.from_json(report.to_json()) == report

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_holds_no_number_that_json_does_not_know(self, value: float) -> None:
        with pytest.raises(ValidationError):
            AgreementRow(sqnr_db=value)
        with pytest.raises(ValidationError):
            Latency(p50=None, p90=None, p99=None, n=1, raw=(value,))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", "is not a report"),
            ("[" * 100_000, "is not a report"),
            ('{"schema": NaN}', "NaN is not JSON"),
            (b"\xff\xfe{", "is not a report"),
            ("[]", "found no schema"),
            ("{}", "found no schema, expected schema 'visiondeploy.report/1'"),
            ('{"schema": "pyperf/1"}', "found schema 'pyperf/1'"),
            ('{"schema": "visiondeploy.report/2"}', "of version '2', this visiondeploy reads '1'"),
            ('{"schema": ["visiondeploy.report/1"]}', "is not a report of visiondeploy"),
            (f'{{"schema": "{SCHEMA}"}}', r"environment: Field required \(and 2 more\)"),
            (CONTRACT.replace('"fp32"', '"fp7"'), r"rows\.0\.precision"),
            (CONTRACT.replace('"delta": 0.0', '"delta": 0.1'), r"rows\.0\.quality: delta is value - baseline"),
            (CONTRACT.replace('"p50": 1.0', '"p50": 1e999'), r"rows\.0\.latency_ms\.p50"),
        ],
    )
    def test_says_what_is_wrong_with_a_file(self, content: str | bytes, said: str) -> None:
        with pytest.raises(InputError, match=said) as error:
            Report.from_json(content, "build.json")
        assert str(error.value).startswith("build.json ")
        assert "\n" not in str(error.value)


class TestRow:
    @pytest.mark.parametrize("status", [Status.FAILED, Status.NOT_RUN])
    def test_needs_a_reason_unless_ok(self, status: Status) -> None:
        with pytest.raises(ValidationError, match="a reason is required"):
            kit.row("x", "openvino", Precision.INT8, status=status)
        with pytest.raises(ValidationError):
            kit.row("x", "openvino", Precision.INT8, status=status, reason="")
        with pytest.raises(ValidationError, match="has no reason"):
            kit.row("x", "openvino", Precision.INT8, reason="why not")

    def test_not_run_holds_no_measurement(self) -> None:
        with pytest.raises(ValidationError, match="was not run, yet it has speedup"):
            kit.row(
                "x",
                "tensorrt",
                Precision.INT8,
                status=Status.NOT_RUN,
                reason="no GPU",
                parameters=1,
                speedup=Speedup(value=9, ci95=(8, 10)),
            )

    def test_not_run_may_say_what_was_built(self) -> None:
        """An engine for a GPU that is not here has its layers and its size from its builder."""
        built = kit.row(
            "x",
            "tensorrt-rtx",
            Precision.INT8,
            status=Status.NOT_RUN,
            reason="no CUDA device",
            realised={"int8": 19, "fp32": 4},
            stored={"int8": 19, "fp32": 4},
            size_bytes=7,
        )
        assert Row.model_validate(built.model_dump()) == built
        assert built.off_precision == {"fp32": 4}

    def test_off_precision(self) -> None:
        assert kit.int8().off_precision == {"fp32": 4}
        assert kit.baseline().off_precision == {}
        assert kit.not_run().off_precision == {}

    def test_is_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            kit.int8().name = "other"


def test_of_a_loss_of_nothing_no_change_is_no_change() -> None:
    steady = Quality(metric="flicker", value=0, baseline=0, delta=0, ci95=(0, 0), n=3, smaller=True)
    assert steady.gain == (0, (0, 0))
    worse = Quality(metric="flicker", value=1, baseline=0, delta=1, ci95=(0, 2), n=3, smaller=True)
    assert worse.gain == (-math.inf, (-math.inf, 0))


class TestReport:
    def test_first_row_is_the_baseline(self) -> None:
        with pytest.raises(ValidationError, match="the first row is the baseline, pytorch fp32, found openvino int8"):
            kit.report(kit.int8(), kit.baseline())

    def test_or_somebody_elses_file_where_that_is_the_network(self) -> None:
        file = OnnxFile(name="painter.onnx", sha256="ab" * 32, precision=Precision.INT8)
        own = {"name": "painter-int8-onnxruntime", "backend": "onnxruntime", "precision": Precision.INT8}
        report = kit.report(kit.baseline().model_copy(update=own), kit.int8(), file=file)
        assert Report.from_json(report.to_json()) == report
        other = report.model_copy(update={"file": file.model_copy(update={"precision": Precision.FP32})})
        with pytest.raises(InputError, match="the baseline, onnxruntime fp32, found onnxruntime int8"):
            Report.from_json(other.to_json())

    def test_the_file_is_absent_where_there_is_none(self) -> None:
        assert "file" not in json.loads(kit.report(kit.baseline()).to_json())

    @pytest.mark.parametrize("speedup", [None, Speedup(value=1.1, ci95=(1, 2))])
    def test_baseline_has_speed_up_one(self, speedup: Speedup | None) -> None:
        with pytest.raises(ValidationError, match="speed-up is 1"):
            kit.report(kit.baseline(speedup=speedup))

    def test_no_speed_up_over_a_failed_baseline(self) -> None:
        failed = kit.baseline(status=Status.FAILED, reason="out of memory", speedup=None)
        assert kit.report(failed, kit.not_run()).baseline.status is Status.FAILED
        with pytest.raises(ValidationError, match="was not measured"):
            kit.report(failed, kit.int8())

    def test_names_are_unique(self) -> None:
        with pytest.raises(ValidationError, match="found twice: unet-int8-openvino"):
            kit.report(kit.baseline(), kit.int8(), kit.int8())

    def test_needs_a_row(self) -> None:
        with pytest.raises(ValidationError):
            Report(environment=kit.environment(), rows=(), verdict=kit.verdict())


class TestNumbers:
    def test_percentiles_rise(self) -> None:
        with pytest.raises(ValidationError, match="percentiles rise"):
            Latency(p50=2, p90=1, p99=None, n=30)

    def test_n_counts_raw_values(self) -> None:
        with pytest.raises(ValidationError, match="n = 2 and 1 values"):
            Latency(p50=None, p90=None, p99=None, n=2, raw=(1.0,))

    def test_intervals_run_upwards_around_their_value(self) -> None:
        with pytest.raises(ValidationError, match="from low to high"):
            Speedup(value=2, ci95=(3, 1))
        with pytest.raises(ValidationError, match="outside its own interval"):
            Speedup(value=4, ci95=(1, 3))

    def test_threads_are_counted(self) -> None:
        with pytest.raises(ValidationError):
            Environment(cpu="x", threads=0, versions={})


class TestAgreementRow:
    def test_a_number(self) -> None:
        row = AgreementRow.of(Agreement(max_abs=1, mean_abs=0.5, sqnr_db=30, pixels=0.9, samples=4))
        assert (row.sqnr_db, row.exact, row.finite, row.max_abs, row.samples) == (30, False, True, 1, 4)

    def test_exact(self) -> None:
        row = AgreementRow.of(Agreement(max_abs=0, mean_abs=0, sqnr_db=math.inf, pixels=None, samples=4))
        assert (row.sqnr_db, row.exact, row.finite, row.max_abs) == (None, True, True, 0)

    def test_not_finite(self) -> None:
        row = AgreementRow.of(Agreement(math.inf, math.inf, -math.inf, 0.1, 4))
        assert (row.sqnr_db, row.exact, row.finite, row.max_abs, row.mean_abs) == (None, False, False, None, None)

    @pytest.mark.parametrize(("pixels", "exact"), [(1.0, True), (0.9999, False)])
    def test_class_maps(self, pixels: float, exact: bool) -> None:
        row = AgreementRow.of(Agreement(math.nan, math.nan, math.nan, pixels, 4))
        assert (row.outputs, row.pixels, row.exact, row.samples) == ("classes", pixels, exact, 4)
        assert (row.sqnr_db, row.max_abs, row.mean_abs) == (None, None, None)

    def test_class_maps_have_no_decibels(self) -> None:
        for fields in ({"sqnr_db": 30}, {"max_abs": 1}, {"pixels": None}):
            with pytest.raises(ValidationError, match="class maps have pixels"):
                AgreementRow(**({"outputs": "classes", "pixels": 0.9} | fields))

    def test_says_one_thing_only(self) -> None:
        with pytest.raises(ValidationError):
            AgreementRow(sqnr_db=3, exact=True)
        with pytest.raises(ValidationError):
            AgreementRow(exact=True, finite=False)


class TestVerdict:
    @given(st.lists(st.sampled_from(Outcome)))
    @settings(deadline=None, derandomize=True)
    def test_is_the_worst_of_its_checks(self, outcomes: list[Outcome]) -> None:
        found = Verdict.of(Check(name="n", limit="l", found="f", status=outcome) for outcome in outcomes)
        worst = [outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS) if outcome in outcomes]
        assert found.status is (worst[0] if worst else Outcome.INCONCLUSIVE)
        assert [check.status for check in found.by_severity()] == sorted(
            outcomes, key=[Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS].index
        )

    def test_cannot_be_better_than_its_checks(self) -> None:
        with pytest.raises(ValidationError, match="the worst of the checks is FAIL"):
            Verdict(status=Outcome.PASS, checks=kit.verdict().checks)


class TestCompression:
    def test_round_trip(self) -> None:
        report = kit.compressed(5)
        assert report.compression is not None
        assert Report.from_json(report.to_json()) == report

    def test_is_absent_from_the_json_of_what_was_not_compressed(self) -> None:
        assert "compression" not in json.loads(kit.report().to_json())

    def test_a_variant_needs_its_row(self) -> None:
        with pytest.raises(ValidationError, match="'cut-25' was measured in row 'cut-25-int8-openvino', which is not"):
            Report.model_validate(
                {**dict(kit.report(kit.baseline())), "compression": kit.compression(variants=kit.variants(3)[1:2])}
            )

    def test_the_chosen_one_is_a_variant(self) -> None:
        with pytest.raises(ValidationError, match="one of dense, cut-25, cut-50, found 'other'"):
            kit.compression(chosen="other")

    def test_names_are_unique(self) -> None:
        with pytest.raises(ValidationError, match="unique, found twice: dense"):
            kit.compression(variants=kit.variants(1) * 2)


class TestGain:
    def test_a_loss_gains_by_falling_and_in_percent_of_the_baseline(self) -> None:
        value, interval = kit.loss(5, 4, 7).gain
        assert value == pytest.approx(-5)
        assert interval == (pytest.approx(-7), pytest.approx(-4))

    def test_a_metric_gains_by_rising_and_in_points(self) -> None:
        value, interval = kit.quality(-0.003, -0.01, 0.002).gain
        assert value == pytest.approx(-0.3)
        assert interval == (pytest.approx(-1), pytest.approx(0.2))

    def test_no_change_of_no_loss_is_none(self) -> None:
        found = Quality(metric="m", value=0, baseline=0, delta=0, ci95=(0, 0), n=3, smaller=True)
        assert found.gain[0] == 0

    def test_losses_and_likeness_are_written_and_read(self) -> None:
        alike = {"ssim": Likeness(value=0.98, ci95=(0.97, 0.99), n=7)}
        row = kit.int8().model_copy(
            update={"quality": kit.loss(1, 0, 2), "more": (kit.loss(3, 2, 4, "flicker"),), "likeness": alike}
        )
        made = kit.report().model_copy(update={"rows": (kit.baseline(), row)})
        assert Report.from_json(made.to_json(), "x").rows[1] == row
