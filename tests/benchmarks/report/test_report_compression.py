import io

import pytest
from kit import reports as kit
from rich.console import Console

from visiondeploy.benchmarks.report import compression_cells as cells
from visiondeploy.benchmarks.report.compression import LayerChange, LayerCost
from visiondeploy.benchmarks.report.markdown import compression_page, to_markdown
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.benchmarks.report.terminal import render


def printed(report: Report, width: int) -> str:
    stream = io.StringIO()
    render(report, Console(file=stream, width=width, force_terminal=True, color_system=None))
    return stream.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


class TestTerminal:
    @pytest.mark.parametrize("width", [60, 80, 100, 160])
    def test_fits_the_width_with_names_and_numbers_whole(self, width: int) -> None:
        text = printed(kit.compressed(9), width)
        assert max(map(len, text.splitlines())) <= width
        for whole in ("cut-75-separable", "[3.29, 3.43]", "0.4127", "7.76 M", "0.250×", "54.7 G"):
            assert whole in text

    def test_stands_between_the_engines_and_the_notes(self) -> None:
        flat = " ".join(printed(kit.compressed(), 120).split())
        order = [
            "p90 / p99",
            "compression: cut-50 is chosen, of 3 networks, for openvino int8",
            "4 layers, each before and after: see compression.md.",
            "fine-tuning: cut-25 400 steps in 12 min",
            "channels are removed in steps of 8.",
            "quality on camvid/val.",
        ]
        places = [flat.index(said) for said in order]
        assert places == sorted(places)

    def test_a_variant_in_a_line(self) -> None:
        line = line_of(printed(kit.compressed(), 120), "cut-50  ")
        assert " ".join(line.split()) == "cut-50 50 % of channels removed 7.76 M 13.9 G 0.6902 3.37×"

    def test_marks_the_chosen_one_without_colour(self) -> None:
        assert line_of(printed(kit.compressed(), 120), "chosen").split()[1:] == [
            "0.250×",
            "0.254×",
            "0.4127",
            "[3.29,",
            "3.43]",
        ]
        assert "3 cut-50 chosen · 50 % of channels removed" in printed(kit.compressed(), 60)

    def test_leaves_layers_to_the_page(self) -> None:
        assert "down.1.conv" not in printed(kit.compressed(), 160)

    def test_says_nothing_where_nothing_was_compressed(self) -> None:
        assert "compression" not in printed(kit.report(), 120)


class TestMarkdown:
    def test_follows_the_verdict(self) -> None:
        text = to_markdown(kit.compressed(), "UNet")
        assert text.index("**FAIL") < text.index("## Compression")
        assert "| **cut-50**<br>**chosen** | 50 % of channels removed | 7.76 M<br>0.250× |" in text
        assert text.endswith("\n")
        assert "## Compression" not in to_markdown(kit.report())

    def test_every_line_of_a_table_has_every_column(self) -> None:
        lines = [line for line in compression_page(kit.compression()).splitlines() if line.startswith("|")]
        assert {line.count(" | ") for line in lines} == {5}
        assert len(lines) == 2 + 3 + 2 + 4 + 1

    def test_layers_before_and_after(self) -> None:
        text = compression_page(kit.compression(), "UNet, compressed")
        assert text.startswith("# UNet, compressed\n")
        row = "| 3×3 64→128 | 3×3 dw 32 + 1×1 32→48 | 73.7 k → 1.82 k | 302 M → 7.47 M | 8.10 → 1.30 |"
        assert f"| down.1.conv {row}" in text
        assert "| skip | 1×1 64→64 | removed | 4.10 k → 0 |" in text
        assert "| head | 1×1 64→12 | same |" in text
        assert "| **total of 4** |" in text

    def test_names_cannot_break_the_table(self) -> None:
        odd = kit.variants(1)[0].model_copy(update={"name": "a|b\n*"})
        assert "| **a\\|b \\***<br>**chosen** |" in compression_page(kit.compression(variants=(odd,)))


class TestCells:
    def test_the_first_variant_is_what_ratios_are_to(self) -> None:
        found = kit.compression()
        first = [column.cell(found.variants[0]) for column in cells.columns(found)]
        assert [(cell.main, cell.detail) for cell in first] == [
            ("31.0 M", ""),
            ("54.7 G", ""),
            ("0.7021", ""),
            ("1×", ""),
        ]

    def test_what_was_not_measured_is_a_dash(self) -> None:
        bare = kit.variants(2)[1].model_copy(
            update={"tuned": None, "untuned": None, "speed_over_dense": None, "speed_over_dense_ci95": None}
        )
        found = kit.compression(variants=(kit.variants(1)[0], bare))
        assert [column.cell(bare).main for column in cells.columns(found)][2:] == ["–", "–"]

    def test_a_speed_without_an_interval_says_so(self) -> None:
        bare = kit.variants(2)[1].model_copy(update={"speed_over_dense_ci95": None})
        found = kit.compression(variants=(kit.variants(1)[0], bare))
        assert cells.columns(found)[-1].cell(bare).detail == "no interval"

    def test_a_sum_with_an_unknown_term_is_a_dash(self) -> None:
        unknown = LayerChange(before=kit.layer("x", (8, 8)), after=(kit.layer("x", (8, 4)),))
        found = kit.compression(layers=(*kit.changes(), unknown))
        parameters, _, milliseconds = cells.layers_total(found)[3:]
        assert milliseconds.main == "–"
        assert parameters.main == "112 k → 9.02 k"

    @pytest.mark.parametrize(
        ("layer", "text"),
        [
            (kit.layer("x", (64, 128)), "3×3 64→128"),
            (kit.layer("x", (32, 32), groups=32), "3×3 dw 32"),
            (kit.layer("x", (32, 64), groups=32), "3×3 dw 32→64"),
            (kit.layer("x", (32, 64), groups=4), "3×3 32→64 in 4 groups"),
            (kit.layer("x", (128, 64), 2, kind="transposed"), "2×2 up 128→64"),
            (kit.layer("x", (512, 10), 1, kind="linear"), "linear 512→10"),
        ],
    )
    def test_shape(self, layer: LayerCost, text: str) -> None:
        assert cells.shape(layer) == text

    def test_no_layers_no_line(self) -> None:
        assert cells.layers_line(kit.compression(layers=())) == ""
        assert cells.layers_line(kit.compression(layers=kit.changes()[:1])).startswith("1 layer, ")
