"""Profiles in the report: tables that hold everything, sentences that say what to look at."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import reports as kit

from visiondeploy.benchmarks.report import profile_cells as cells
from visiondeploy.benchmarks.report.markdown import to_markdown
from visiondeploy.benchmarks.report.measured import LayerTiming, shares
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.benchmarks.report.terminal import PIPED_WIDTH, print_report

PYTORCH = [
    LayerTiming("stem", "Conv2d", "fp32", 20.0, macs=100),
    LayerTiming("norm", "BatchNorm2d", "fp32", 6.0),
    LayerTiming("act", "ReLU", "fp32", 4.0),
    LayerTiming("pool", "MaxPool2d", "fp32", 5.0),
    LayerTiming("up", "ConvTranspose2d", "fp32", 40.0, macs=100),
    LayerTiming("cat", "cat", "", 5.0),
    LayerTiming("head", "Conv2d", "fp32", 20.0, macs=800),
]
ENGINE = [
    LayerTiming("image_reorder", "Reorder", "fp32", 1.0, inserted=True),
    LayerTiming("stem", "Convolution", "int8", 2.0, macs=100),
    LayerTiming("node_pool", "Pooling", "int8", 1.0),
    LayerTiming("up", "Deconvolution", "int8", 4.0, macs=100),
    LayerTiming("head", "Convolution", "fp32", 2.0, macs=800),
]


def report() -> Report:
    return kit.report(
        kit.baseline(profile=shares(PYTORCH)), kit.int8().model_copy(update={"profile": shares(ENGINE)}), kit.not_run()
    )


def printed(found: Report) -> str:
    stream = io.StringIO()
    print_report(found, stream)
    return stream.getvalue()


timings = st.lists(
    st.builds(
        LayerTiming,
        st.text(min_size=1, max_size=8),
        st.sampled_from(["Conv", "Relu", "Reorder"]),
        st.sampled_from(["fp32", "int8", ""]),
        st.floats(0, 1e6),
        st.booleans(),
        st.none() | st.integers(0, 10**12),
    ),
    min_size=1,
    max_size=40,
)


class TestTables:
    @given(timings)
    @settings(deadline=None, derandomize=True)
    def test_no_layer_is_lost(self, found: list[LayerTiming]) -> None:
        row = kit.baseline(profile=shares(found))
        for lines in (cells.top_layers(row), cells.by_kind(row)):
            assert sum(line.layers for line in lines) == len(found)
            assert math.isclose(math.fsum(line.milliseconds for line in lines), cells.sum_of(row), abs_tol=1e-9)
        assert len(cells.top_layers(row)) <= cells.TOP + 1

    @given(timings, timings)
    @settings(deadline=None, derandomize=True, max_examples=40)
    def test_every_engine_is_a_whole_side_by_side(self, one: list[LayerTiming], other: list[LayerTiming]) -> None:
        engine = kit.int8().model_copy(update={"profile": shares(other)})
        found = kit.report(kit.baseline(profile=shares(one)), engine)
        for limit in (None, 3):
            for place, timed in enumerate((one, other)):
                shown = [module.cells[place].main for module in cells.modules(found, limit)]
                total = sum(float(text.split()[0]) for text in shown if text[0].isdigit())
                if any(layer.milliseconds for layer in timed):
                    assert total == pytest.approx(100, abs=0.06 * len(shown))

    def test_shares_of_nothing_are_nothing(self) -> None:
        assert [layer.share for layer in shares([LayerTiming("a", "Conv", "fp32", 0.0)])] == [0.0]
        assert shares([]) == ()

    def test_what_engines_fold_stands_with_the_layer_in_front(self) -> None:
        found = {module.name.main: module for module in cells.modules(report())}
        assert found["stem"].name.detail == "with BatchNorm2d, ReLU"
        assert [cell.main for cell in found["stem"].cells] == ["30.0 %", "20.0 %"]
        assert [cell.detail for cell in found["stem"].cells] == ["fp32", "int8"]
        # A name of the graph's own is not taken for the module's.
        assert [cell.main for cell in found["pool"].cells] == ["5.0 %", "–"]
        assert [cell.main for cell in found["operators that are no layer of the first"].cells] == ["–", "10.0 %"]
        assert [cell.main for cell in found["inserted by the runtime"].cells] == ["–", "10.0 %"]

    def test_one_profile_is_compared_with_nothing(self) -> None:
        assert cells.modules(kit.report(kit.baseline(profile=shares(PYTORCH)))) == ()


class TestSentences:
    def test_more_time_than_work_is_named(self) -> None:
        said = cells.hints(report().rows[1])
        assert said[0].startswith("More time than work: up takes 40.0 % of the time for 10.0 % of the multiply-acc")
        assert "head" not in said[0]
        assert said[1] == (
            "Inserted by the runtime: 10.0 % of the time in 1 layer (Reorder), which move data and compute nothing."
        )

    def test_nothing_is_said_where_nothing_is_known_of_the_work(self) -> None:
        row = kit.baseline(profile=shares([LayerTiming("a", "Conv", "fp32", 1.0)]))
        assert cells.hints(row) == ()
        assert "MACs" not in [column.heading.main for column in cells.layer_columns(row)]

    def test_the_sum_of_layers_stands_beside_a_call(self) -> None:
        assert cells.headline(report().rows[1]) == (
            "unet-int8-openvino: 5 layers, 10.0 ms in all; 348 ms is what a call took (p50) when none was timed"
        )


class TestReport:
    def test_is_read_as_it_was_written(self) -> None:
        found = report()
        assert Report.from_json(found.to_json()) == found

    def test_terminal_and_markdown_show_the_same_tables(self) -> None:
        text, page = printed(report()), to_markdown(report())
        assert max(map(len, text.splitlines())) <= PIPED_WIDTH
        for words in ("Deconvolution", "side by side", "More time than work", "A runtime that keeps times"):
            assert words.lower() in " ".join(text.split()).lower()
            assert words.lower() in page.lower()
        assert "| stem<br>with BatchNorm2d, ReLU | Conv2d | 30.0 %<br>fp32 | 20.0 %<br>int8 |" in page

    def test_without_profiles_nothing_is_said_of_them(self) -> None:
        assert "Layers, as the runtimes time them" not in to_markdown(kit.report())
        assert "side by side" not in printed(kit.report())
