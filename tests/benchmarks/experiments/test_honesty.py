"""The experiment on the gate itself: losses that are what they say, and results that are not made twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from visiondeploy.benchmarks.experiments.honesty import QUESTIONS, Results, Slowed, document, row
from visiondeploy.benchmarks.experiments.honesty_samples import Spread, losing, made_up, miou


class TestSamples:
    @pytest.mark.parametrize("points", [0.1, 1.0])
    def test_an_engine_loses_what_it_is_said_to(self, points: float) -> None:
        rows = made_up(300, seed=0)
        found = losing(rows, points, 1, Spread())
        assert (miou(rows) - miou(found.engine)) * 100 == pytest.approx(points, rel=0.03)
        assert np.array_equal(found.engine.sum(axis=2), rows.sum(axis=2)), "the truth is what it was"
        assert found.engine.min() >= 0

    def test_images_lose_differently_much_and_some_gain(self) -> None:
        found = losing(made_up(300, seed=0), 0.2, 1, Spread())
        change = np.trace(found.engine - found.baseline, axis1=1, axis2=2)
        assert (change > 0).sum() > 5
        assert np.percentile(change, 5) < 3 * np.median(change) < 0

    def test_a_validation_set_is_drawn_in_pairs(self) -> None:
        found = losing(made_up(50, seed=0), 1.0, 1, Spread())
        baseline, engine = found.drawn(20, np.random.default_rng(0))
        assert baseline.shape == engine.shape == (20, 11, 11)
        assert np.array_equal(baseline.sum(axis=2), engine.sum(axis=2))


class TestResults:
    def test_go_on_where_they_were(self, tmp_path) -> None:
        path, settings = tmp_path / "results.jsonl", {"seconds": 60}
        Results(path, settings).add("equal", {"outcome": "PASS"}, 2)
        again = Results(path, settings)
        assert again.found["equal"] == [{"kind": "equal", "outcome": "PASS"}]
        again.add("slower", {"outcome": "FAIL"}, 1)
        assert [json.loads(line) for line in path.read_text().splitlines()[1:]] == [
            {"kind": "equal", "outcome": "PASS"},
            {"kind": "slower", "outcome": "FAIL"},
        ]

    def test_of_other_settings_are_not_mixed(self, tmp_path) -> None:
        Results(tmp_path / "results.jsonl", {"seconds": 60})
        with pytest.raises(SystemExit, match="other settings"):
            Results(tmp_path / "results.jsonl", {"seconds": 5})

    def test_a_row_says_the_rate_its_interval_and_whether_it_is_as_asked(self) -> None:
        equal = QUESTIONS[0]
        found = [{"outcome": "FAIL"}] * 2 + [{"outcome": "PASS"}] * 198
        assert row(equal, found).endswith("| 200 | 198 | 2 | 0 | FAIL 1.0% (0.1% to 3.6%) | at most 5% | yes |")
        assert row(equal, [{"outcome": "FAIL"}] * 20).endswith("| **no** |")
        assert row(equal, []).endswith("| not run |")

    def test_the_page_without_results_says_so(self, tmp_path) -> None:
        assert document(Results(tmp_path / "results.jsonl", {}), "honesty.py", 2).count("not run") == len(QUESTIONS)


def test_a_slowed_call_knows_by_how_much_it_was() -> None:
    slowed = Slowed(lambda: sum(range(20_000)), 0.5)
    for _ in range(20):
        slowed()
    assert slowed.wait > 0
    assert slowed.realised > 0
