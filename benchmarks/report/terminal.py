"""A report as a table on a terminal: what is not as was asked for first, then the numbers, the notes, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visiondeploy.benchmarks.report import cells, compression_cells, profile_cells
from visiondeploy.benchmarks.report.compression import Compression
from visiondeploy.benchmarks.report.scenario_cells import scenario_tables
from visiondeploy.benchmarks.report.schema import Report, Row, Verdict
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
    _print_table(
        console,
        cells.columns(report),
        report.rows,
        {cells.NAMES: [cells.name(row) for row in report.rows]},
        [_style(row) for row in report.rows],
    )
    console.print()
    _print_scenarios(report, console)
    if report.compression is not None:
        _print_compression(report.compression, console)
    _print_profiles(report, console)
    for line in cells.notes(report):
        console.print(_hanging("·", line, "dim"))
    console.print()
    status = report.verdict.status
    console.print(Text(cells.verdict_line(report.verdict), style=f"bold {_COLOURS[status]}"))
    _print_checks(report.verdict, console)


def print_verdict(verdict: Verdict, stream: TextIO) -> None:
    """Print the checks that did not pass on a stream; those that did are counted."""
    console = Console(file=stream)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    _print_checks(verdict, console)
    if verdict.status is not Outcome.PASS:
        console.print(Text(cells.verdict_line(verdict), style="dim"))


def _print_checks(verdict: Verdict, console: Console) -> None:
    for check in verdict.by_severity():
        if check.status is Outcome.PASS:
            continue  # counted in the line of the verdict; each is in the report
        said = f"{cells.plain(check.name)}: found {cells.plain(check.found)}, limit {cells.plain(check.limit)}"
        if check.needed:
            said += f"; {cells.plain(check.needed)}"
        mark = f"{check.status.value:<{max(map(len, Outcome))}}"
        console.print(Padding(_hanging(mark, said, _COLOURS[check.status]), (0, 0, 0, 2)))


def _print_scenarios(report: Report, console: Console) -> None:
    """A table for each scenario, and what was not measured of it."""
    for found in scenario_tables(report):
        console.print(Text(found.title, style="bold"))
        console.print()
        labels = {cells.NAMES: [cells.name(row) for row in found.rows]}
        _print_table(console, found.columns, found.rows, labels, [_style(row) for row in found.rows])
        console.print()
        for line in found.notes:
            console.print(_hanging("·", line, "dim"))
        if found.notes:
            console.print()


def _print_compression(found: Compression, console: Console) -> None:
    """The variants, where their layers are to be seen, and the notes."""
    console.print(Text(compression_cells.headline(found), style="bold"))
    console.print()
    labels = {
        compression_cells.VARIANTS: [compression_cells.name(variant, found) for variant in found.variants],
        cells.Cell("change"): [compression_cells.change(variant, found) for variant in found.variants],
    }
    styles = ["bold green" if variant.name == found.chosen else "" for variant in found.variants]
    _print_table(console, compression_cells.columns(found), found.variants, labels, styles)
    console.print()
    for line in (compression_cells.layers_line(found), *compression_cells.notes(found)):
        if line:
            console.print(_hanging("·", line, "dim"))
    console.print()


def _print_profiles(report: Report, console: Console) -> None:
    """Of each profile the layers that take longest and all by kind; then modules side by side."""
    rows = profile_cells.profiled(report)
    for row in rows:
        console.print(Text(profile_cells.headline(row), style="bold"))
        console.print()
        for heading, columns, lines in (
            (profile_cells.LAYERS, profile_cells.layer_columns(row), profile_cells.top_layers(row)),
            (profile_cells.KINDS, profile_cells.kind_columns(row), profile_cells.by_kind(row)),
        ):
            labels = {heading: [cells.Cell(line.name) for line in lines]}
            _print_table(console, columns, lines, labels, [""] * len(lines))
            console.print()
        for line in profile_cells.hints(row):
            console.print(_hanging("·", line, "dim"))
        console.print()
    modules = profile_cells.modules(report)
    if modules:
        console.print(Text("layers side by side, share of each engine's time", style="bold"))
        console.print()
        labels = {profile_cells.MODULES: [module.name for module in modules]}
        _print_table(console, profile_cells.module_columns(report), modules, labels, [""] * len(modules))
        console.print()
        console.print(_hanging("·", profile_cells.MODULES_NOTE, "dim"))
    if rows:
        console.print(_hanging("·", profile_cells.HOW, "dim"))


def _print_table(
    console: Console,
    columns: Sequence[cells.Column[cells.Line]],
    found: Sequence[cells.Line],
    labels: dict[cells.Cell, list[cells.Cell]],
    styles: Sequence[str],
) -> None:
    """A table whose first columns are `labels`, by their headings; it refers to them by number where they do not fit.

    Names broken into pieces cannot be read, so they stand above then.
    """
    table = _table(columns, found, labels, styles)
    if console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum > console.width:
        for number, (style, parts) in enumerate(zip(styles, zip(*labels.values(), strict=True), strict=True), start=1):
            said = " · ".join(f"{part.main} {part.detail}".strip() for part in parts)
            console.print(_hanging(str(number), said, style or "bold"))
        console.print()
        numbers = [cells.Cell(str(number)) for number in range(1, len(found) + 1)]
        table = _table(columns, found, {cells.Cell("#"): numbers}, styles)
    console.print(table)


def _hanging(mark: str, line: str, style: str) -> Table:
    """A mark, and beside it the line, which wraps within its own column."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), Text(line))
    return grid


def _table(
    columns: Sequence[cells.Column[cells.Line]],
    found: Sequence[cells.Line],
    labels: dict[cells.Cell, list[cells.Cell]],
    styles: Sequence[str],
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    for heading in labels:
        table.add_column(_stacked(heading, "bold"))
    for column in columns:
        table.add_column(_stacked(column.heading, "bold"), justify=column.align, overflow="fold")
    for line, style, *parts in zip(found, styles, *labels.values(), strict=True):
        shown = (*parts, *(column.cell(line) for column in columns))
        table.add_row(*(_stacked(cell, style) for cell in shown))
    return table


def _style(row: Row) -> str:
    if row.status is Status.FAILED:
        return "red"
    return "dim" if row.status is Status.NOT_RUN else ""


def _stacked(cell: cells.Cell, style: str) -> Text:
    # `Text`, not markup: a name may hold square brackets.
    return Text(cell.main, style=style).append(f"\n{cell.detail}" if cell.detail else "", style="dim")
