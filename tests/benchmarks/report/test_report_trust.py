"""What a report says of how far its times can be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from kit import reports

from visiondeploy.benchmarks.report import cells, trust
from visiondeploy.benchmarks.report.measured import Activity, Latency, Noise
from visiondeploy.benchmarks.report.schema import Report, Verdict


def report(machine: dict[str, Any] | None = None, latency: dict[str, Any] | None = None, **fields: Any) -> Report:
    environment = reports.environment().model_copy(update=machine or {})
    known: dict[str, Any] = {"p50": 10, "p90": None, "p99": None, "n": 7, "blocks": (10.0, 10.0), "stopped": "precise"}
    rows = (reports.baseline(latency_ms=Latency.model_validate(known | (latency or {}))),)
    return Report(environment=environment, rows=rows, verdict=Verdict.of(()), **fields)


def noise(value: float, low: float, high: float, spread: float) -> Noise:
    return Noise(value=value, ci95=(low, high), blocks=7, spread=spread)


class TestNoise:
    def test_of_a_quiet_machine_is_a_note(self) -> None:
        found = report(noise=noise(1.002, 0.99, 1.01, 0.021))
        assert trust.warnings(found) == ()
        assert "noise: the baseline over itself is 1.002 (0.990 to 1.010), and blocks differ by 2.1 %." in trust.notes(
            found
        )

    @pytest.mark.parametrize("bad", [noise(1.05, 1.02, 1.08, 0.02), noise(1.0, 0.9, 1.1, 0.15)])
    def test_of_another_is_a_warning(self, bad) -> None:
        found = report(noise=bad)
        assert any("not to be trusted" in line for line in cells.surprises(found))
        assert not any(line.startswith("noise") for line in trust.notes(found))

    def test_a_bias_that_changes_nothing_is_none(self) -> None:
        """One interval in twenty excludes 1, also on a quiet machine."""
        assert not trust.is_noisy(noise(1.003, 1.001, 1.005, 0.002))


class TestLoad:
    @pytest.mark.parametrize(("others", "where"), [(0.05, ()), (0.2, ("notes",)), (0.6, ("surprises",))])
    def test_is_told_by_how_much_it_was(self, others, where) -> None:
        found = report({"activity": Activity(seconds=10, others=others), "cores_logical": 2})
        said = f"other processes took {others:.2f} of 2 cores meanwhile"
        places = {"notes": cells.notes(found), "surprises": cells.surprises(found)}
        assert tuple(place for place, lines in places.items() if any(said in line for line in lines)) == where

    def test_niceness_is_explained_where_it_does_not_help(self) -> None:
        found = report({"activity": Activity(seconds=10, others=1.0), "autogroup": True})
        assert any("autogroup is on" in line for line in trust.warnings(found))


def test_threads_without_cores_of_their_own() -> None:
    assert trust.warnings(report({"threads": 2, "cores_available": 2})) == ()
    assert trust.warnings(report({"threads": 4, "cores_available": 2}))[0].startswith("4 threads share 2 cores")


def test_rows_that_were_not_steady_are_named() -> None:
    found = report(latency={"settled": False, "warmups": 4})
    assert "unet-fp32-pytorch was not steady after 4 runs of warm-up: its times may still have moved." in trust.notes(
        found
    )


@pytest.mark.parametrize(
    ("stopped", "words"),
    [("precise", "narrow enough"), ("budget", "the time was used"), ("max-blocks", "the most blocks were run")],
)
def test_why_measuring_ended(stopped, words) -> None:
    (said,) = trust.notes(report(latency={"stopped": stopped}))
    assert said.startswith("latency: 2 blocks, until ")
    assert words in said


def test_of_an_older_report_nothing_is_said() -> None:
    found = report(latency={"stopped": None, "blocks": ()})
    assert trust.warnings(found) == trust.notes(found) == ()
