"""Speed-ups with their intervals, every timed run, and whether the machine stayed as it was."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, number, plain
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Heading, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import table
from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.report.schema import Report, Row

_SPEEDUPS = (
    "The baseline's latency over the engine's, from blocks that were run in turns, with the 95 % interval. Where the "
    "interval holds 1, this run does not show a difference."
)
_RUNS = (
    "Numbers: p50 / p90 / p99 in milliseconds, a dash where too few runs support one. Every timed run is drawn, none "
    "is left out; the curve is their density. All are relative to the engine's own median: tails compare."
)
_DRIFT = (
    "The median of each block relative to the engine's own, in the order of the run; all lanes have one scale, written "
    "beside the first. What moves all engines at once is "
    "the machine, and cancels out in the speed-ups, which are of blocks side by side."
)
_STOPPED = {
    "precise": "intervals were narrow enough",
    "budget": "its time was used up",
    "max-blocks": "it had as many blocks as are run at most",
}


def section(content: Content) -> Section | None:
    """The plots of what was timed; none where nothing was."""
    blocks: list[Block] = [*content.figures("speedups", _SPEEDUPS)]
    if runs := content.figures("latencies", _RUNS):
        blocks += [Heading("Every run"), *runs]
    if drift := content.figures("drift", _DRIFT):
        blocks += [Heading("Over time"), *drift]
    blocks += _runs(content.report)
    return Section("latency", "Latency", tuple(blocks)) if blocks else None


def _runs(report: Report) -> list[Block]:
    """How much was run, and why no more."""
    rows = [row for row in report.rows if row.latency_ms is not None]
    if not rows:
        return []

    def of(row: Row) -> Latency:
        if row.latency_ms is None:
            raise RuntimeError("rows without latency are left out")
        return row.latency_ms

    def shown(value: float | None) -> Cell:
        return Cell(NOTHING if value is None else number(value))

    columns: tuple[Column[Row], ...] = (
        Column(Cell("p50 ms"), "right", lambda row: shown(of(row).p50)),
        Column(Cell("p90 ms"), "right", lambda row: shown(of(row).p90)),
        Column(Cell("p99 ms"), "right", lambda row: shown(of(row).p99)),
        Column(Cell("runs"), "right", lambda row: Cell(str(of(row).n))),
        Column(Cell("blocks"), "right", lambda row: Cell(str(len(of(row).blocks) or NOTHING))),
        Column(Cell("warm-ups"), "right", lambda row: Cell(str(of(row).warmups))),
        Column(Cell("steady"), "left", lambda row: Cell("yes" if of(row).settled else "not yet")),
        Column(Cell("ended as"), "left", lambda row: Cell(_stopped(of(row)))),
    )
    names = ((Cell(plain(row.name)), "") for row in rows)
    return [Fold("How much was run", (Tabular(table("Runs of each engine", Cell("engine"), columns, rows, names)),))]


def _stopped(latency: Latency) -> str:
    found = latency.stopped
    return NOTHING if found is None else _STOPPED.get(found, plain(found))
