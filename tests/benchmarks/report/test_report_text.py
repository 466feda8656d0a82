import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import reports as kit
from rich.console import Console

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.markdown import to_markdown
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Report, Verdict
from visiondeploy.benchmarks.report.terminal import print_report, render
from visiondeploy.types import Outcome, Precision, Status


def printed(report: Report, width: int | None = None, **console: object) -> str:
    stream = io.StringIO()
    options = {"force_terminal": True, "width": width, "color_system": None} if width else {}
    render(report, Console(file=stream, **{**options, **console}))  # type: ignore[arg-type]
    return stream.getvalue()


class TestTerminal:
    @pytest.mark.parametrize("width", [80, 100, 160])
    def test_fits_the_width_with_names_and_numbers_whole(self, width: int) -> None:
        text = printed(kit.report(), width)
        assert max(map(len, text.splitlines())) <= width
        for whole in ("unet-fp16-onnxruntime", "[−0.0060, +0.0010]", "0.6969 (−0.0031)", "[8.72, 9.03]", "1.61 GB"):
            assert whole in text

    def test_names_stand_in_the_table_at_a_hundred_columns(self) -> None:
        line = next(line for line in printed(kit.report(), 100).splitlines() if line.startswith("unet-int8-openvino"))
        assert line.split() == [
            "unet-int8-openvino",
            "int8",
            "23",
            "0.6969",
            "(−0.0031)",
            "99.99",
            "%",
            "348",
            "8.91×",
            "31.2",
            "MB",
        ]

    def test_order_surprises_numbers_notes_verdict(self) -> None:
        text = printed(kit.report(), 100)
        order = [
            "Testor 9000",
            "fp16 was asked for, 27 of 27 layers compute in fp32; 27 store their weights in fp16.",
            "unet-int8-broken failed: 14.8 dB",
            "p50 ms",
            "unet-int8-tensorrt was not run: tensorrt is not installed",
            "calibrated on 64 images.",
            "FAIL: 1 of 3 checks failed.",
            "parity: found 14.8 dB, limit SQNR ≥ 25 dB",
            "speed-up: found",
        ]
        # Lines wrap; words do not.
        flat = " ".join(text.split())
        places = [flat.index(said) for said in order]
        assert places == sorted(places)

    def test_what_would_decide_stands_behind_what_is_not_decided(self) -> None:
        check = Check(
            name="miou",
            limit="0.5",
            found="0.4",
            status=Outcome.INCONCLUSIVE,
            needed="about 340 images in all would decide",
        )
        report = kit.report().model_copy(update={"verdict": Verdict.of([check])})
        flat = " ".join(printed(report, 160).split())
        assert "miou: found 0.4, limit 0.5; about 340 images in all would decide" in flat
        assert "| miou | 0.5 | 0.4 | INCONCLUSIVE: about 340 images in all would decide |" in to_markdown(report)

    def test_a_pipe_gets_a_fixed_width_and_no_colour(self) -> None:
        stream = io.StringIO()
        console = Console(file=stream, width=40)
        render(kit.report(), console)
        lines = stream.getvalue().splitlines()
        assert 90 < max(map(len, lines)) <= 120
        assert "\x1b" not in stream.getvalue()
        assert console.width == 40

    def test_a_stream(self) -> None:
        stream = io.StringIO()
        print_report(kit.report(), stream)
        assert "unet-int8-openvino" in stream.getvalue()

    def test_no_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        coloured = printed(kit.report(), 100, color_system="standard")
        monkeypatch.setenv("NO_COLOR", "1")
        plain = printed(kit.report(), 100, color_system="standard")
        assert "\x1b[1;31m" in coloured or "\x1b[31m" in coloured
        assert not any(f"{colour}m" in plain for colour in range(30, 38))

    def test_a_name_is_neither_markup_nor_an_escape(self) -> None:
        row = kit.row("[red]x[/red]\x1b[2J\nnext", "openvino", Precision.INT8, surprises=("\x1b]0;title\x07",))
        text = printed(kit.report(kit.baseline(), row), 160)
        assert "[red]x[/red]�[2J next" in text
        assert "\x1b" not in text
        assert "\x07" not in text


class TestMarkdown:
    def test_every_row_has_every_column(self) -> None:
        lines = [line for line in to_markdown(kit.report(), "UNet").splitlines() if line.startswith("|")]
        table, checks = lines[:7], lines[7:]
        assert {line.count(" | ") for line in table} == {6}
        assert {line.count(" | ") for line in checks} == {3}
        assert "99.99 %<br>40.1 dB" in table[3]

    def test_says_what_the_terminal_says(self) -> None:
        text = to_markdown(kit.report(), "UNet")
        assert text.startswith("# UNet\n")
        assert text.endswith("|\n")
        assert "- **unet-int8-openvino: int8 was asked for, 4 of 27 layers compute in fp32.**" in text
        assert "pip install 'visiondeploy\\[tensorrt\\]'" in text
        assert text.index("| parity |") < text.index("| speed-up |") < text.index("| quality |")

    def test_a_name_cannot_break_the_table(self) -> None:
        row = kit.row("a|b\n<script>*", "openvino", Precision.INT8)
        assert "| a\\|b \\<script\\>\\* |" in to_markdown(kit.report(kit.baseline(), row))


class TestCells:
    @pytest.mark.parametrize(
        ("value", "text"),
        [(0, "0"), (0.01234, "0.0123"), (1.236, "1.24"), (12.34, "12.3"), (348.2, "348"), (3096.1, "3096")],
    )
    def test_number(self, value: float, text: str) -> None:
        assert cells.number(value) == text

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (31_174_084, "31.2 MB"),
            (999_999_999, "1.00 GB"),
            (2 * 10**12, "2.00 TB"),
        ],
    )
    def test_size(self, count: int, text: str) -> None:
        assert cells.size(count) == text

    @pytest.mark.parametrize(("value", "text"), [(0.0, "±0.0000"), (0.01, "+0.0100"), (-0.00314, "−0.0031")])
    def test_signed(self, value: float, text: str) -> None:
        assert cells.signed(value) == text

    @given(st.floats(0, 1, exclude_max=True))
    @settings(deadline=None, derandomize=True)
    def test_a_hundred_per_cent_means_all(self, share: float) -> None:
        row = kit.row("x", "openvino", Precision.INT8, agreement=AgreementRow(pixels=share))
        agrees = next(column for column in cells.columns(kit.report()) if column.heading.main == "agrees")
        assert "100" not in agrees.cell(row).main

    def test_class_maps_have_no_sqnr_and_no_dash_for_it(self) -> None:
        classes = kit.int8().model_copy(update={"agreement": AgreementRow(outputs="classes", pixels=0.9987)})
        report = kit.report(kit.baseline(), classes)
        agrees = next(column for column in cells.columns(report) if column.heading.main == "agrees")
        assert agrees.heading.detail == ""
        assert agrees.cell(classes) == cells.Cell("99.87 %")
        mixed = kit.report(kit.baseline(), classes, kit.fp16())
        agrees = next(column for column in cells.columns(mixed) if column.heading.main == "agrees")
        assert agrees.heading.detail == "SQNR"

    def test_not_finite_is_a_surprise(self) -> None:
        said = cells.surprises(kit.report(kit.baseline(), kit.broken()))
        assert said[0] == "unet-int8-broken: some of its outputs are NaN or infinite."

    def test_a_row_that_explains_itself_is_not_explained_again(self) -> None:
        row = kit.row("x", "onnxruntime", Precision.FP16, realised={"fp32": 2}, surprises=("no fast half precision",))
        assert cells.surprises(kit.report(kit.baseline(), row)) == ("x: no fast half precision",)

    def test_a_failed_baseline_and_no_limits_can_be_shown(self) -> None:
        failed = kit.baseline(status=Status.FAILED, reason="out of memory", speedup=None, quality=None, latency_ms=None)
        report = kit.report(failed).model_copy(update={"verdict": Verdict.of([])})
        assert "INCONCLUSIVE: there was no limit to check." in printed(report, 100)
