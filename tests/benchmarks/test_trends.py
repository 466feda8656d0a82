"""A metric over runs: what is compared with what, and what is said of the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import histories

from visiondeploy.benchmarks.history import read, stops
from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.trends import Trend, environment_key, median_interval, trend
from visiondeploy.errors import UsageError
from visiondeploy.pipeline.commits import descent_of

ENGINE = "unet-int8-openvino"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> histories.Repository:
    return histories.merged(tmp_path_factory.mktemp("repository"))


def shown(repository: histories.Repository, metric: str, rows: str = "*") -> Trend:
    found, _ = read(repository.histories / "unet")
    order = stops(found, descent_of(repository.root, [kept.run.commit.sha for kept in found]))
    return trend("unet", order, metric, rows)


@pytest.fixture
def moved(tmp_path) -> histories.Repository:
    """Two runs, then one with another number of threads and newer packages, then one on other data."""
    made = histories.Repository(tmp_path)
    for number, changes in enumerate(({}, {}, {"threads": 1, "openvino": "2026.5.0"}, {"validation": "w" * 64})):
        made.commit(str(number))
        made.keep(5.0 + number, **changes)
    return made


class TestSeries:
    def test_lines_go_along_both_branches(self, repository) -> None:
        (series,) = shown(repository, "speedup").series
        value = [point.value for point in series.points]
        assert {(value[one], value[other]) for one, other in series.lines} == {
            (5.0, 5.2), (5.2, 5.1), (5.2, 7.0), (7.0, 7.4), (7.4, 7.3), (5.1, 7.3), (7.3, 7.6),
        }  # fmt: skip
        assert series.group == ""

    def test_times_of_another_environment_are_a_series_of_their_own_and_it_is_said_why(self, moved) -> None:
        found = shown(moved, "p50", ENGINE)
        assert [(series.group, len(series.points), series.lines) for series in found.series] == [
            ("A", 3, ((0, 1), (1, 2))),
            ("B", 1, ()),
        ]
        assert found.notes == (
            "A and B are not compared, as their environments differ: threads 2 and 1; openvino 2026.4.1 and 2026.5.0.",
        )
        assert found.groups["B"].startswith("Testor 9000, 1 thread")

    def test_accuracy_is_joined_over_machines_on_the_same_data_alone(self, moved) -> None:
        found = shown(moved, "miou", ENGINE)
        assert [(series.group, len(series.points), series.lines) for series in found.series] == [
            ("A", 3, ((0, 1), (1, 2))),
            ("B", 1, ()),
        ]
        (note,) = found.notes
        assert note.startswith("A and B are not compared: validation data vvvvvvvvvvvv, 101 images, and validation")

    def test_where_the_data_are_not_known_nothing_is_joined(self, tmp_path) -> None:
        made = histories.Repository(tmp_path)
        made.commit("one")
        for _ in range(2):
            made.keep(5.0, validation=None)
        assert [len(series.points) for series in shown(made, "miou", ENGINE).series] == [1, 1]

    def test_size_is_compared_everywhere(self, moved) -> None:
        (series,) = shown(moved, "size", ENGINE).series
        assert [point.value for point in series.points] == [31_174_084] * 4

    def test_the_environment_is_what_times_depend_on(self) -> None:
        environment = histories.report(5.0).environment
        key = environment_key(environment)
        assert key == environment_key(environment.model_copy(update={"kernel": "7.0", "memory_bytes": 1}))
        versions = {**environment.versions, "visiondeploy": "9"}
        assert key == environment_key(environment.model_copy(update={"versions": versions}))
        for field, value in (("cpu", "x"), ("threads", 9), ("gpu", "y"), ("turbo", True), ("variables", {"A": "1"})):
            assert key != environment_key(environment.model_copy(update={field: value})), field


class TestValues:
    def test_accuracy_has_the_interval_of_its_difference(self, repository) -> None:
        point = shown(repository, "miou", ENGINE).series[0].points[0]
        assert point.value == pytest.approx(0.6969)
        assert point.interval == pytest.approx((0.6929, 0.6999))

    def test_the_baseline_has_no_speed_up_over_itself(self, repository) -> None:
        assert [series.row for series in shown(repository, "speedup").series] == [ENGINE]
        assert len(shown(repository, "p50").series) == 2

    @given(st.lists(st.floats(0.1, 1000), max_size=40))
    @settings(deadline=None, derandomize=True)
    def test_the_interval_of_a_median_holds_it_and_needs_six_blocks(self, blocks) -> None:
        p50 = sorted(blocks)[len(blocks) // 2] if blocks else 1.0
        found = median_interval(Latency(p50=p50, p90=None, p99=None, n=len(blocks), blocks=tuple(blocks)))
        assert (found is None) is (len(blocks) < 6)
        if found is not None:
            assert min(blocks) <= found[0] <= p50 <= found[1] <= max(blocks)

    def test_json_holds_every_point(self, repository) -> None:
        found = json.loads(shown(repository, "speedup").to_json())
        assert found["schema"] == "visiondeploy.trend/1"
        assert len(found["commits"]) == len(found["series"][0]["points"]) == 7
        assert {"commit", "file", "date", "value", "ci95"} == found["series"][0]["points"][0].keys()


class TestMistakes:
    def test_a_metric_that_nobody_measured(self, repository) -> None:
        with pytest.raises(UsageError, match=r"there is no metric 'miuo': did you mean 'miou'\? Known: miou, p50"):
            shown(repository, "miuo")

    def test_a_pattern_that_matches_nothing(self, repository) -> None:
        with pytest.raises(UsageError, match=r"no row of history 'unet' matches 'x\*': choose among unet-fp32-pytorch"):
            shown(repository, "p50", "x*")

    def test_a_metric_that_no_matching_row_has(self, repository) -> None:
        with pytest.raises(UsageError, match="that matches 'unet-int8-openvino' has a p99: choose another --metric"):
            shown(repository, "p99", ENGINE)
