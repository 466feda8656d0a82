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
    return "\n".join([*lines, *_per_class(report)])


def _per_class(report: Report) -> list[str]:
    """The metric of every class, a column an engine, in percent; nothing where no row has it."""
    rows = [row for row in report.rows if row.quality is not None and row.quality.per_class]
    if not rows:
        return []
    first = rows[0].quality
    names = list(first.per_class) if first is not None else []
    lines = [
        f"## {_escaped(first.metric if first is not None else '')} by class, in percent",
        "",
        _row(["class", *(_escaped(row.name) for row in rows)]),
        _row([":---", *(["---:"] * len(rows))]),
    ]
    for name in names:
        found = [row.quality.per_class[name].value if row.quality is not None else None for row in rows]
        lines.append(_row([_escaped(name), *("–" if value is None else f"{value * 100:.2f}" for value in found)]))
    return [*lines, ""]


def _row(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _cell(cell: cells.Cell) -> str:
    return "<br>".join(_escaped(line) for line in (cell.main, cell.detail) if line)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
