"""The table of engines, as the terminal has it, and what explains its numbers."""

from __future__ import annotations

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.html.blocks import Block, Points, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import table
from visiondeploy.benchmarks.report.schema import Row
from visiondeploy.types import Status


def section(content: Content) -> Section:
    """The table, then the notes."""
    report = content.report

    def look(row: Row) -> str:
        if row.status is not Status.OK:
            return "failed" if row.status is Status.FAILED else "faint"
        return "baseline" if row is report.baseline else ""

    names = ((cells.name(row), look(row)) for row in report.rows)
    shown = table("Engines, the baseline first", cells.NAMES, cells.columns(report), report.rows, names, stacked=True)
    notes = cells.notes(report)
    blocks: tuple[Block, ...] = (Tabular(shown), Points(notes, "notes")) if notes else (Tabular(shown),)
    return Section("engines", "Engines", blocks)
