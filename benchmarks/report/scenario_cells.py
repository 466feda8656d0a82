"""What stands in the tables of scenarios, one for each scenario: a line for each engine, a column for each load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, number, plain
from visiondeploy.benchmarks.report.measured import Latency, Load, Scenario
from visiondeploy.benchmarks.report.schema import Report, Row

_STOPPED = {
    "precise": "found",
    "budget": "the time was used",
    "bound": "lower rates were not tried",
}


@dataclass(frozen=True, slots=True)
class ScenarioTable:
    """One scenario of all engines that it was measured of."""

    title: str
    columns: tuple[Column[Row], ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def scenario_tables(report: Report) -> tuple[ScenarioTable, ...]:
    """A table for each scenario of the report, in the order in which they were measured."""
    names = dict.fromkeys(scenario.name for row in report.rows for scenario in row.scenarios)
    return tuple(_table(report, name) for name in names)


def _table(report: Report, name: str) -> ScenarioTable:
    rows = tuple(row for row in report.rows if _of(row, name) is not None)
    found = [(row, scenario) for row in rows if (scenario := _of(row, name)) is not None]
    notes = [f"{row.name}: not measured: {scenario.reason}" for row, scenario in found if scenario.reason]
    notes += [
        f"{row.name}, {_load_name(load)}: not measured: {load.reason}"
        for row, scenario in found
        for load in scenario.loads
        if load.reason
    ]
    make = {"offline": _offline, "multi-stream": _multi_stream, "server": _server}.get(name, _single_stream)
    title, columns = make([scenario for _, scenario in found])
    return ScenarioTable(f"{name}: {title}", columns, rows, tuple(map(plain, notes)))


def _single_stream(found: list[Scenario]) -> tuple[str, tuple[Column[Row], ...]]:
    def latency(row: Row) -> Cell:
        load = _first(row, "single-stream")
        return _latency(load.latency_ms if load else None)

    def rate(row: Row) -> Cell:
        load = _first(row, "single-stream")
        return Cell(_number(load.per_second if load else None))

    columns = (Column(Cell("p50 ms", "p90 / p99"), "right", latency), Column(Cell("images/s"), "right", rate))
    return "one query after the other", columns


def _offline(found: list[Scenario]) -> tuple[str, tuple[Column[Row], ...]]:
    batches = sorted({load.batch for scenario in found for load in scenario.loads})

    def cell(row: Row, batch: int) -> Cell:
        load = _load(row, "offline", lambda load: load.batch == batch)
        if load is None or load.per_second is None:
            return Cell(NOTHING)
        interval = f"[{number(load.ci95[0])}, {number(load.ci95[1])}]" if load.ci95 else ""
        return Cell(number(load.per_second), interval)

    columns = tuple(Column(Cell(f"batch {batch}", "95 % CI"), "right", partial(cell, batch=batch)) for batch in batches)
    return "images in a second, by batch", columns


def _multi_stream(found: list[Scenario]) -> tuple[str, tuple[Column[Row], ...]]:
    streams = sorted({load.streams for scenario in found for load in scenario.loads})

    def latency(row: Row, count: int) -> Cell:
        load = _load(row, "multi-stream", lambda load: load.streams == count)
        return _latency(load.latency_ms if load else None)

    def rate(row: Row, count: int) -> Cell:
        load = _load(row, "multi-stream", lambda load: load.streams == count)
        return Cell(_number(load.per_second if load else None))

    columns: list[Column[Row]] = []
    for count in streams:
        said = f"{count} stream{'s' if count > 1 else ''}"
        columns += [
            Column(Cell(f"{said}, p50 ms", "p90 / p99"), "right", partial(latency, count=count)),
            Column(Cell("images/s"), "right", partial(rate, count=count)),
        ]
    return "callers at once, latency of a query", tuple(columns)


def _server(found: list[Scenario]) -> tuple[str, tuple[Column[Row], ...]]:
    def best(row: Row) -> Load | None:
        scenario = _of(row, "server")
        return None if scenario is None or scenario.best is None else scenario.loads[scenario.best]

    def rate(row: Row) -> Cell:
        load = best(row)
        return Cell(_number(load.rate if load else None))

    def bound(row: Row) -> Cell:
        scenario = _of(row, "server")
        if scenario is None or scenario.bound_ms is None:
            return Cell(NOTHING)
        quantile = "" if scenario.quantile is None else f"p{scenario.quantile * 100:g} ≤ "
        return Cell(f"{quantile}{number(scenario.bound_ms)} ms")

    def latency(row: Row) -> Cell:
        load = best(row)
        return _latency(load.latency_ms if load else None)

    def ended(row: Row) -> Cell:
        scenario = _of(row, "server")
        if scenario is None or scenario.stopped is None:
            return Cell(NOTHING)
        tried = f"{len(scenario.loads)} rate{'s' if len(scenario.loads) != 1 else ''} tried"
        return Cell(_STOPPED.get(scenario.stopped, plain(scenario.stopped)), tried)

    columns = (
        Column(Cell("queries/s"), "right", rate),
        Column(Cell("bound"), "left", bound),
        Column(Cell("p50 ms at it", "p90 / p99"), "right", latency),
        Column(Cell("search"), "left", ended),
    )
    return "the highest rate of Poisson arrivals that holds the bound", columns


def _of(row: Row, name: str) -> Scenario | None:
    return next((scenario for scenario in row.scenarios if scenario.name == name), None)


def _load(row: Row, name: str, wanted: Callable[[Load], bool]) -> Load | None:
    scenario = _of(row, name)
    return None if scenario is None else next((load for load in scenario.loads if wanted(load)), None)


def _first(row: Row, name: str) -> Load | None:
    return _load(row, name, lambda load: True)


def _load_name(load: Load) -> str:
    if load.streams > 1:
        return f"{load.streams} streams"
    return f"batch {load.batch}"


def _latency(latency: Latency | None) -> Cell:
    if latency is None:
        return Cell(NOTHING)
    return Cell(_number(latency.p50), f"{_number(latency.p90)} / {_number(latency.p99)}")


def _number(value: float | None) -> str:
    return NOTHING if value is None else number(value)
