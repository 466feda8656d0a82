"""A report as Markdown (GitHub's dialect), for the files in `benchmarks/results/`."""

from __future__ import annotations

import re

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.schema import Report

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(report: Report, title: str = "Benchmark") -> str:
    """The report as Markdown text with a final newline, in the order in which the terminal shows it."""
    shown = cells.columns(report)
    lines = [f"# {_escaped(title)}", "", _escaped(cells.machine(report.environment)), ""]
    surprises = cells.surprises(report)
    if surprises:
        lines += [*(f"- **{_escaped(line)}**" for line in surprises), ""]
    lines.append(_row([_cell(cells.NAMES), *(_cell(column.heading) for column in shown)]))
    lines.append(_row([":---", *("---:" if column.align == "right" else ":---" for column in shown)]))
    lines += [_row([_cell(cells.name(row)), *(_cell(column.cell(row)) for column in shown)]) for row in report.rows]
    lines.append("")
    notes = cells.notes(report)
    if notes:
        lines += [*(f"- {_escaped(line)}" for line in notes), ""]
    lines += [f"**{cells.verdict_line(report.verdict)}**", ""]
    if report.verdict.checks:
        lines += [_row(["check", "limit", "found", "outcome"]), _row([":---"] * 4)]
        lines += [
            _row([_escaped(cells.plain(said)) for said in (check.name, check.limit, check.found, check.status.value)])
            for check in report.verdict.by_severity()
        ]
        lines.append("")
    return "\n".join(lines)


def _row(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _cell(cell: cells.Cell) -> str:
    return "<br>".join(_escaped(line) for line in (cell.main, cell.detail) if line)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
