"""Tables of a page, of the columns that the terminal and Markdown have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.report.cells import Cell, Column, Line


@dataclass(frozen=True, slots=True)
class TableRow:
    """The cell that names a row, the others, and a class for its looks."""

    name: Cell
    cells: tuple[Cell, ...]
    look: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`caption` says what it is, `heading` is that of the names, `aligns` are "left" or "right" of the other columns.

    One that is `stacked` has its rows as blocks on a phone; others scroll in a box of their own.
    """

    caption: str
    heading: Cell
    headings: tuple[Cell, ...]
    aligns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    stacked: bool = False


def table(
    caption: str,
    heading: Cell,
    columns: Sequence[Column[Line]],
    lines: Sequence[Line],
    names: Iterable[tuple[Cell, str]],
    *,
    stacked: bool = False,
) -> Table:
    """A table of columns; `names` are the cells that name its rows, and how these look."""
    return Table(
        caption,
        heading,
        tuple(column.heading for column in columns),
        tuple(column.align for column in columns),
        tuple(
            TableRow(name, tuple(column.cell(line) for column in columns), look)
            for (name, look), line in zip(names, lines, strict=True)
        ),
        stacked,
    )
