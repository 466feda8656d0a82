"""Plots: one scene for the page, the SVG and the PNG; what is drawn is what the report holds."""

from __future__ import annotations

import math
from io import BytesIO
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import full_reports, reports
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.plots import png, svg
from visiondeploy.benchmarks.report.plots.names import short
from visiondeploy.benchmarks.report.plots.scales import Linear, Log, log_span, round_step, span, spelt
from visiondeploy.benchmarks.report.plots.scene import Area, Disc, Group, Line, Scene, Shape, Strokes, Text
from visiondeploy.benchmarks.report.plots.table import PHONE, WIDE, is_plot, plots, save_plots

values = st.floats(min_value=1e-3, max_value=1e5)


def flat(shapes: tuple[Shape, ...]) -> list[Shape]:
    return [one for shape in shapes for one in (flat(shape.shapes) if isinstance(shape, Group) else [shape])]


def texts(scene: Scene) -> list[str]:
    return [shape.text for shape in flat(scene.shapes) if isinstance(shape, Text)]


class TestPlots:
    @pytest.fixture(scope="class")
    @staticmethod
    def engines() -> dict[str, tuple[Scene, Scene]]:
        return {plot.name: (plot.wide, plot.narrow) for plot in plots(full_reports.engines())}

    def test_there_is_one_for_each_thing_that_was_measured(self, engines) -> None:
        known = ["tradeoff", "speedups", "latencies", "drift", "parts-1", "types", "layers-4", "layers-8", "offline"]
        assert [*engines] == [*known, "server"]
        assert [plot.name for plot in plots(reports.compressed(3))][-1] == "compression"

    def test_each_is_as_wide_as_it_is_told_and_says_what_it_shows(self, engines) -> None:
        for wide, narrow in engines.values():
            assert (wide.width, narrow.width) == (WIDE, PHONE)
            assert wide.alt
            assert narrow.alt

    def test_all_engines_that_were_measured_are_in_the_tradeoff(self, engines) -> None:
        wide, narrow = engines["tradeoff"]
        for name in ("fp32-pytorch", "int8-openvino", "int8-onnxruntime"):
            assert name in texts(wide)
            assert name in texts(narrow)
        assert not any("tensorrt" in text for text in texts(wide))

    def test_every_run_is_drawn(self, engines) -> None:
        report = full_reports.engines()
        runs = [len({*row.latency_ms.raw}) for row in report.rows if row.latency_ms]
        drawn = [len(one.xs) for one in flat(engines["latencies"][0].shapes) if isinstance(one, Strokes)]
        assert all(count in drawn for count in runs)

    def test_losses_have_their_scale_turned_round(self) -> None:
        (tradeoff,) = [plot.wide for plot in plots(full_reports.painters()) if plot.name == "tradeoff"]
        places = {one.text: one.y for one in flat(tradeoff.shapes) if isinstance(one, Text)}
        ticks = sorted((float(text), y) for text, y in places.items() if text.startswith("0.1"))
        assert len(ticks) > 2
        assert [y for _, y in ticks] == sorted(y for _, y in ticks)

    def test_a_report_with_nothing_measured_has_none(self) -> None:
        bare = reports.report(reports.baseline(quality=None, latency_ms=None, realised=None))
        assert plots(bare) == ()

    def test_files_are_the_same_for_the_same_report(self, tmp_path) -> None:
        found = plots(full_reports.painters())[:2]
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            save_plots(tmp_path / name, found)
        written = sorted(path.name for path in (tmp_path / "a").iterdir())
        assert written == ["speedups.png", "speedups.svg", "tradeoff.png", "tradeoff.svg"]
        for name in written:
            assert is_plot(tmp_path / "a" / name)
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Pillow.open(tmp_path / "a" / "tradeoff.png") as picture:
            assert picture.width == png.SCALE * (WIDE + 2 * svg.MARGIN)

    def test_files_of_others_are_not_taken_for_plots(self, tmp_path) -> None:
        assert not any(
            is_plot(tmp_path / name) for name in ("holiday.png", "tradeoff.txt", "layers-x.svg", "parts.png")
        )


class TestSvg:
    SCENE = Scene(
        100,
        50,
        "a <plot>",
        (
            Line(((0, 0), (10, 10)), "one", dashed=True),
            Strokes((1, 1, 2), 0, 5, "two"),
            Area(((0, 0), (1, 0), (1, 1)), "three", outline="paper"),
            Group("a & b", (Disc(5, 5, 2, "four"), Text(1, 2, "</text>\x00", bold=True))),
        ),
    )

    def test_a_file_is_well_formed_whatever_is_written_in_it(self) -> None:
        root = ElementTree.fromstring(svg.document(self.SCENE))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.attrib["aria-label"] == "a <plot>"
        assert [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")] == ["</text>�"]

    def test_within_a_page_it_has_classes_and_no_colours(self) -> None:
        text = svg.inline(self.SCENE, "wide")
        assert "#" not in text
        assert "style" not in text
        assert ElementTree.fromstring(text).attrib["class"] == "plot wide"

    def test_as_a_picture(self) -> None:
        stream = BytesIO()
        png.save(Scene(100, 50, "x", self.SCENE.shapes[:3]), stream)
        with Pillow.open(stream) as picture:
            assert picture.size == (264, 164)


class TestScales:
    @given(values, values)
    def test_a_log_scale_rises_and_its_ends_are_where_they_were_put(self, one: float, other: float) -> None:
        low, high = log_span([one, other], least=1.5)
        scale = Log(low, high, 10, 200)
        assert math.isclose(scale(low), 10, abs_tol=1e-6)
        assert math.isclose(scale(high), 200, abs_tol=1e-6)
        assert 10 <= scale(min(one, other)) <= scale(max(one, other)) <= 200

    @given(st.lists(st.floats(min_value=-1e4, max_value=1e4), min_size=1), st.integers(3, 10))
    def test_ticks_are_within_and_not_too_many(self, found: list[float], most: int) -> None:
        low, high = span(found, least=0.1)
        ticks = Linear(low, high, 0, 100).ticks(most)
        assert len(ticks) <= most
        assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in ticks)
        assert len({*map(spelt(ticks), ticks)}) == len(ticks)

    @pytest.mark.parametrize(("least", "step"), [(0.3, 0.5), (1, 1), (1.01, 2), (2.1, 2.5), (7, 10), (0.02, 0.02)])
    def test_steps_are_round(self, least, step) -> None:
        assert math.isclose(round_step(least), step)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["unet-fp32-a", "unet-int8-a"], ["fp32-a", "int8-a"]),
        (["unet", "unet-int8"], ["unet", "unet-int8"]),
        (["a-b"], ["a-b"]),
        (["a-b", "c-b"], ["a-b", "c-b"]),
    ],
)
def test_names_lose_what_all_begin_with(names, expected) -> None:
    assert short(names) == expected
