"""Scenarios after MLPerf Inference: what each engine does when queries come in other ways than one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, number, plain
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Heading, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import Table, table
from visiondeploy.benchmarks.report.measured import Load, Scenario
from visiondeploy.benchmarks.report.schema import Report

_NAMES = ("single-stream", "multi-stream", "offline", "server")
_CAPTIONS = {
    "single-stream": "One query after the other, each as soon as the one before is answered.",
    "multi-stream": "Several callers at the same time.",
    "offline": "All images are there at once and go in in batches: what counts is how many are finished in a second.",
    "server": (
        "Queries arrive at random (Poisson). The rate that counts is the highest at which the bound on latency is held."
    ),
}


@dataclass(frozen=True, slots=True)
class _Line:
    """One load of one engine."""

    engine: str
    scenario: Scenario
    load: Load
    best: bool


def section(content: Content) -> Section | None:
    """A part for each scenario that was run; none where none was."""
    blocks: list[Block] = []
    for name in _NAMES:
        lines = _lines(content.report, name)
        if not lines:
            continue
        shown = Tabular(_table(_CAPTIONS[name], lines))
        figures = content.figures(name, _CAPTIONS[name])
        blocks += [Heading(name), *figures, Fold("in numbers", (shown,)) if figures else shown]
    return Section("scenarios", "Scenarios", tuple(blocks)) if blocks else None


def _lines(report: Report, name: str) -> list[_Line]:
    return [
        _Line(row.name, scenario, load, index == scenario.best and len(scenario.loads) > 1)
        for row in report.rows
        for scenario in row.scenarios
        if scenario.name == name
        for index, load in enumerate(scenario.loads)
    ]


def _table(caption: str, lines: list[_Line]) -> Table:
    columns: list[Column[_Line]] = [
        Column(Cell("load"), "left", _load),
        Column(Cell("images / s", "95 % CI"), "right", _rate),
    ]
    if any(line.load.latency_ms for line in lines):
        columns.append(Column(Cell("p50 ms", "p90 / p99"), "right", _latency))
    if any(line.scenario.bound_ms for line in lines):
        columns.append(Column(Cell("bound"), "left", _held))
    if any(line.load.reason for line in lines):
        columns.append(Column(Cell("not measured"), "left", lambda line: Cell(plain(line.load.reason or NOTHING))))
    names = (
        (Cell(plain(line.engine), "the answer" if line.best else ""), "chosen" if line.best else "") for line in lines
    )
    return table(caption, Cell("engine"), columns, lines, names)


def _load(line: _Line) -> Cell:
    load = line.load
    if load.rate is not None:
        return Cell(f"{number(load.rate)} a second")
    if line.scenario.name == "multi-stream":
        return Cell(f"{load.streams} callers")
    return Cell(f"batch {load.batch}")


def _rate(line: _Line) -> Cell:
    found, bounds = line.load.per_second, line.load.ci95
    if found is None:
        return Cell(NOTHING)
    return Cell(number(found), f"[{number(bounds[0])}, {number(bounds[1])}]" if bounds else "")


def _latency(line: _Line) -> Cell:
    found = line.load.latency_ms
    if found is None:
        return Cell(NOTHING)
    p50, p90, p99 = (NOTHING if value is None else number(value) for value in (found.p50, found.p90, found.p99))
    return Cell(p50, f"{p90} / {p99}")


def _held(line: _Line) -> Cell:
    bound, quantile, held = line.scenario.bound_ms, line.scenario.quantile, line.load.held
    if bound is None or held is None:
        return Cell(NOTHING)
    at = f" at p{quantile * 100:g}" if quantile is not None else ""
    return Cell("held" if held else "broken", f"{number(bound)} ms{at}")
