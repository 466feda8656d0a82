"""A report as a table on a terminal: what is not as was asked for first, then the numbers, the notes, the verdict."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.schema import Report, Row
from visiondeploy.types import Outcome, Status

# What a pipe or a file gets, which has no width of its own.
PIPED_WIDTH = 120
_UNBOUNDED = 10_000

_COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "yellow"}


def render(report: Report, console: Console) -> None:
    """Print the report on a console; on one that is no terminal, at `PIPED_WIDTH` columns.

    Colours follow the console, and so `NO_COLOR`.
    """
    if console.is_terminal:
        _print(report, console)
        return
    width = console.width
    console.width = PIPED_WIDTH
    try:
        _print(report, console)
    finally:
        console.width = width


def print_report(report: Report, stream: TextIO) -> None:
    """Print the report on a stream, as wide and as colourful as the stream can show."""
    render(report, Console(file=stream))


def _print(report: Report, console: Console) -> None:
    console.print(Text(cells.machine(report.environment), style="dim"))
    for line in cells.surprises(report):
        console.print(_hanging("!", line, "bold yellow"))
    console.print()
    table = _table(report, cells.NAMES, [cells.name(row) for row in report.rows])
    if console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum > console.width:
        # Names broken into pieces cannot be read: they stand above, and the table refers to them.
        for number, row in enumerate(report.rows, start=1):
            name = cells.name(row)
            console.print(_hanging(str(number), f"{name.main} {name.detail}".strip(), "bold"))
        console.print()
        table = _table(report, cells.Cell("#"), [cells.Cell(str(number)) for number in range(1, len(report.rows) + 1)])
    console.print(table)
    console.print()
    for line in cells.notes(report):
        console.print(_hanging("·", line, "dim"))
    console.print()
    status = report.verdict.status
    console.print(Text(cells.verdict_line(report.verdict), style=f"bold {_COLOURS[status]}"))
    for check in report.verdict.by_severity():
        if check.status is Outcome.PASS:
            continue  # counted in the line above; each is in the report
        said = f"{cells.plain(check.name)}: found {cells.plain(check.found)}, limit {cells.plain(check.limit)}"
        mark = f"{check.status.value:<{max(map(len, Outcome))}}"
        console.print(Padding(_hanging(mark, said, _COLOURS[check.status]), (0, 0, 0, 2)))


def _hanging(mark: str, line: str, style: str) -> Table:
    """A mark, and beside it the line, which wraps within its own column."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), Text(line))
    return grid


def _table(report: Report, heading: cells.Cell, names: list[cells.Cell]) -> Table:
    shown = cells.columns(report)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    table.add_column(_stacked(heading, "bold"))
    for column in shown:
        table.add_column(_stacked(column.heading, "bold"), justify=column.align, overflow="fold")
    for name, row in zip(names, report.rows, strict=True):
        style = _style(row)
        table.add_row(_stacked(name, style), *(_stacked(column.cell(row), style) for column in shown))
    return table


def _style(row: Row) -> str:
    if row.status is Status.FAILED:
        return "red"
    return "dim" if row.status is Status.NOT_RUN else ""


def _stacked(cell: cells.Cell, style: str) -> Text:
    # `Text`, not markup: a name may hold square brackets.
    return Text(cell.main, style=style).append(f"\n{cell.detail}" if cell.detail else "", style="dim")
