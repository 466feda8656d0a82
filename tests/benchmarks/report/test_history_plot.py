"""The picture of a history: what is joined, and that it is the same each time."""

from __future__ import annotations

import pytest
from kit import histories

from visiondeploy.benchmarks.history import read, stops
from visiondeploy.benchmarks.report.history_plot import HEIGHT, WIDTH, history_plot
from visiondeploy.benchmarks.report.pareto import save_plot
from visiondeploy.benchmarks.trends import Trend, trend
from visiondeploy.pipeline.commits import descent_of


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Trend:
    """Seven runs over two branches, and one with other threads."""
    made = histories.merged(tmp_path_factory.mktemp("repository"))
    made.keep(3.9, threads=1)
    kept, _ = read(made.histories / "unet")
    return trend("unet", stops(kept, descent_of(made.root, [one.run.commit.sha for one in kept])), "speedup")


def test_points_of_one_environment_are_joined_and_all_have_bars(found) -> None:
    (axes,) = history_plot(found).axes
    joined = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    assert len(joined) == 7
    ends = {tuple(round(float(value), 1) for value in line.get_ydata()) for line in joined}
    assert ends == {(5.0, 5.2), (5.2, 5.1), (5.2, 7.0), (7.0, 7.4), (7.4, 7.3), (5.1, 7.3), (7.3, 7.6)}
    assert len(axes.containers) == 8
    assert [text.get_text() for text in axes.get_legend().texts] == [f"unet-int8-openvino ({x})" for x in "AB"]


def test_commits_and_branches_are_named(found) -> None:
    (axes,) = history_plot(found).axes
    labels = [label.get_text().splitlines() for label in axes.get_xticklabels()]
    assert [label[0] for label in labels] == [stop.label for stop in found.stops]
    assert {label[1] for label in labels if len(label) > 1} == {"main", "fast"}


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_history_gives_the_same_bytes(found, tmp_path, ending) -> None:
    for name in ("one", "two"):
        save_plot(tmp_path / f"{name}.{ending}", history_plot(found))
    one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one == two


def test_it_is_wide_enough_for_its_commits(found) -> None:
    size = history_plot(found).get_size_inches() * 100
    assert tuple(size) == (WIDTH, HEIGHT)
