import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import reports as kit
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.labels import choose_places
from visiondeploy.benchmarks.report.pareto import HEIGHT, WIDTH, front, pareto_plot, points, save_plot, ticks
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.errors import ResourceError, UsageError
from visiondeploy.types import Status

# Few values, so that equal costs, equal values and equal points come up.
places = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), max_size=12)


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


class TestFront:
    @given(places)
    @settings(deadline=None, derandomize=True)
    def test_holds_the_points_that_none_dominates_and_only_these(self, found: list[tuple[float, float]]) -> None:
        on = front(found)
        assert len(set(on)) == len(on)
        for index, point in enumerate(found):
            assert (index in on) is not any(dominates(other, point) for other in found)

    @given(places)
    @settings(deadline=None, derandomize=True)
    def test_rises_with_the_cost(self, found: list[tuple[float, float]]) -> None:
        line = [found[index] for index in front(found)]
        for one, other in itertools.pairwise(line):
            assert one == other or (one[0] < other[0] and one[1] < other[1])


class TestTicks:
    @given(st.floats(1e-3, 1e5), st.floats(1.3, 1e3))
    @settings(deadline=None, derandomize=True)
    def test_a_few_within_the_limits(self, low: float, ratio: float) -> None:
        found = ticks(low, low * ratio)
        assert 3 <= len(found) <= 14
        assert found == sorted(found)
        assert low <= found[0] <= found[-1] <= low * ratio


class TestPlaces:
    def test_labels_of_neighbours_keep_off_each_other_and_inside(self) -> None:
        anchors = [(100.0 + 25 * index, 100.0 + 6 * index) for index in range(5)]
        size = (70.0, 24.0)
        centres = choose_places(anchors, [6] * 5, [size] * 5, [], (0, 0, 400, 300))
        for one, other in itertools.combinations(centres, 2):
            assert abs(one[0] - other[0]) >= size[0] or abs(one[1] - other[1]) >= size[1]
        for x, y in centres:
            assert size[0] / 2 <= x <= 400 - size[0] / 2
            assert size[1] / 2 <= y <= 300 - size[1] / 2

    def test_a_label_stands_beside_its_point_where_there_is_room(self) -> None:
        assert choose_places([(50, 50)], [5], [(20, 10)], [], (0, 0, 200, 200)) == [(70.0, 50.0)]


class TestPoints:
    def test_one_for_every_variant_that_was_measured(self) -> None:
        found = points(kit.compressed(5))
        assert [point.name for point in found] == ["dense", "cut-25", "cut-50", "cut-50-separable", "separable"]
        assert [point.name for point in found if point.chosen] == ["cut-50"]

    def test_the_interval_of_the_difference_is_set_upon_the_baseline(self) -> None:
        point = points(kit.compressed())[1]
        assert point.quality == pytest.approx(0.6981)
        assert point.interval == pytest.approx((0.6921, 0.7031))

    def test_what_failed_or_has_no_time_is_left_out(self) -> None:
        report = kit.compressed()
        first, dense, slim, half = report.rows
        rows = (
            first,
            dense,
            slim.model_copy(update={"status": Status.FAILED, "reason": "x"}),
            half.model_copy(update={"latency_ms": None}),
        )
        assert [point.name for point in points(report.model_copy(update={"rows": rows}))] == ["dense"]

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(UsageError, match="no compression"):
            pareto_plot(kit.report())
        bare = kit.variants(1)[0].model_copy(update={"row": None})
        with pytest.raises(UsageError, match="no variant has both"):
            pareto_plot(kit.compressed(1, variants=(bare,)))


class TestLosses:
    def of(self) -> Report:
        """The report, with a loss for the metric."""
        report = kit.compressed()
        rows = tuple(
            row if row.quality is None else row.model_copy(update={"quality": kit.loss(number, number - 1, number + 1)})
            for number, row in enumerate(report.rows)
        )
        return report.model_copy(update={"rows": rows})

    def test_less_is_worth_more(self) -> None:
        found = points(self.of())
        assert all(point.smaller for point in found)
        least = min(found, key=lambda point: point.quality)
        assert max(found, key=lambda point: point.worth) is least

    def test_the_scale_is_turned_round_so_that_better_is_up(self) -> None:
        (axes,) = pareto_plot(self.of()).axes
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        assert "up is better" in axes.get_ylabel()


class TestPlot:
    def test_files_of_two_drawings_are_the_same(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            figure = pareto_plot(kit.compressed(3))
            for suffix in (".png", ".svg"):
                save_plot(tmp_path / f"{name}{suffix}", figure)
        for suffix in (".png", ".svg"):
            assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
        assert len(list(tmp_path.iterdir())) == 4

    def test_png_opens_at_its_size(self, tmp_path: Path) -> None:
        path = tmp_path / "pareto.png"
        save_plot(path, pareto_plot(kit.compressed(3)))
        with Pillow.open(path) as image:
            assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
            assert np.asarray(image.convert("L")).min() < 64

    def test_svg_names_what_it_shows_and_no_date(self, tmp_path: Path) -> None:
        path = tmp_path / "pareto.svg"
        save_plot(path, pareto_plot(kit.compressed(3)))
        text = path.read_text(encoding="utf-8")
        for said in (
            "cut-50",
            "103 ms · 7.76 M",
            "unet-fp32-pytorch",
            "latency p50 of one inference, ms",
            "miou on 101 images",
        ):
            assert said in text
        assert "<dc:date>" not in text

    def test_the_machines_settings_do_not_matter(self, tmp_path: Path) -> None:
        import matplotlib

        save_plot(tmp_path / "one.svg", pareto_plot(kit.compressed(1)))
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "none"}):
            save_plot(tmp_path / "two.svg", pareto_plot(kit.compressed(1)))
            assert matplotlib.rcParams["font.size"] == 30
        assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

    def test_dollars_and_no_interval(self, tmp_path: Path) -> None:
        odd = kit.variants(1)[0].model_copy(update={"name": "$x_{"})
        report = kit.compressed(1, variants=(odd,), chosen="$x_{")
        rows = (report.rows[0], report.rows[1].model_copy(update={"quality": _without_interval(report)}))
        save_plot(tmp_path / "odd.svg", pareto_plot(report.model_copy(update={"rows": rows})))
        text = (tmp_path / "odd.svg").read_text(encoding="utf-8")
        assert "$x_{" in text
        assert "95 % CI" not in text

    def test_other_endings_and_no_folder(self, tmp_path: Path) -> None:
        figure = pareto_plot(kit.compressed(1))
        with pytest.raises(UsageError, match=r"\.png or \.svg, found pareto\.pdf"):
            save_plot(tmp_path / "pareto.pdf", figure)
        with pytest.raises(ResourceError, match="No such file"):
            save_plot(tmp_path / "absent" / "pareto.png", figure)


def _without_interval(report: Report) -> object:
    quality = report.rows[1].quality
    assert quality is not None
    return quality.model_copy(update={"ci95": None})
