"""What `bench` is asked to measure besides the recipe's own measurement."""

from __future__ import annotations

import contextlib

import pytest
from kit import reports
from kit.builds import House, Recorder

from visiondeploy.benchmarks.report.schema import Report, Verdict
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import EnvironmentMismatch, InputError, UsageError
from visiondeploy.pipeline.asked import Asked
from visiondeploy.pipeline.bench import Benched, bench


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    room = House(store_root, tmp_path_factory.mktemp("asked"))
    room.build("backend=onnxruntime")
    return room


def run(room: House, asked: Asked) -> Benched:
    with contextlib.chdir(room.cwd):
        return bench((), 2, None, None, None, Recorder(), asked)


class TestSettings:
    def test_nothing_leaves_the_recipes(self) -> None:
        assert Asked().of(BenchSettings()) == BenchSettings()

    def test_what_is_asked_for(self) -> None:
        found = Asked(("server", "offline", "server"), scenario_seconds=3, bound_ms=20, pin=True).of(BenchSettings())
        assert found.scenarios.names == ("server", "offline")
        assert (found.scenarios.seconds, found.scenarios.bound_ms) == (3, 20)
        assert found.latency.pin
        assert found.latency.isolate

    def test_a_bound_without_its_scenario(self) -> None:
        with pytest.raises(UsageError, match="add --scenario server"):
            Asked(("offline",), bound_ms=20).of(BenchSettings())


class TestBench:
    def test_runs_are_pooled_and_have_scenarios(self, room) -> None:
        first = run(room, Asked())
        path = room.cwd / first.folder / "report.json"
        second = run(room, Asked(("offline", "single-stream"), scenario_seconds=0.2, add=path))
        blocks = len(first.report.baseline.latency_ms.blocks)
        assert {len(row.latency_ms.blocks) for row in second.report.rows} == {2 * blocks}
        assert {row.speedup.blocks for row in second.report.rows} == {2 * blocks}
        assert second.report.noise.blocks == 2 * blocks
        assert any(note.startswith("pooled: ") for note in second.report.notes)
        for row in second.report.rows:
            assert [scenario.name for scenario in row.scenarios] == ["offline", "single-stream"]
            assert row.scenarios[0].loads[0].per_second > 0
        assert Report.from_json(path.read_text(encoding="utf-8")) == second.report
        assert "## Scenario offline" in path.with_name("report.md").read_text(encoding="utf-8")

    def test_another_machine_is_refused_before_anything_is_measured(self, room, tmp_path) -> None:
        other = Report(environment=reports.environment(), rows=(reports.baseline(),), verdict=Verdict.of(()))
        (tmp_path / "other.json").write_text(other.to_json(), encoding="utf-8")
        with pytest.raises(EnvironmentMismatch, match="environments differ: cpu Testor 9000 and "):
            run(room, Asked(add=tmp_path / "other.json"))

    def test_what_is_no_report(self, room, tmp_path) -> None:
        (tmp_path / "mine.json").write_text("[]")
        with pytest.raises(InputError, match=r"mine\.json is not a report"):
            run(room, Asked(add=tmp_path / "mine.json"))
