"""A report as Markdown (GitHub's dialect), for the files in `benchmarks/results/`."""

from __future__ import annotations

import re

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.schema import Report, Verdict

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(report: Report, title: str = "Benchmark") -> str:
    """The report as Markdown text with a final newline, in the order in which the terminal shows it."""
    lines = [f"# {escaped(title)}", "", escaped(cells.machine(report.environment)), ""]
    surprises = cells.surprises(report)
    if surprises:
        lines += [*(f"- **{escaped(line)}**" for line in surprises), ""]
    lines += table(report)
    lines.append("")
    notes = cells.notes(report)
    if notes:
        lines += [*(f"- {escaped(line)}" for line in notes), ""]
    lines += [f"**{cells.verdict_line(report.verdict)}**", ""]
    if report.verdict.checks:
        lines += [*checks(report.verdict), ""]
    return "\n".join([*lines, *_per_class(report)])


def table(report: Report) -> list[str]:
    """The lines of the table of engines alone."""
    shown = cells.columns(report)
    return [
        _row([_cell(cells.NAMES), *(_cell(column.heading) for column in shown)]),
        _row([":---", *("---:" if column.align == "right" else ":---" for column in shown)]),
        *(_row([_cell(cells.name(row)), *(_cell(column.cell(row)) for column in shown)]) for row in report.rows),
    ]


def checks(verdict: Verdict) -> list[str]:
    """The lines of the table of checks, failed ones first."""
    return [
        _row(["check", "limit", "found", "outcome"]),
        _row([":---"] * 4),
        *(
            _row([escaped(cells.plain(said)) for said in (check.name, check.limit, check.found, check.status.value)])
            for check in verdict.by_severity()
        ),
    ]


def _per_class(report: Report) -> list[str]:
    """The metric of every class, a column an engine, in percent; nothing where no row has it."""
    rows = [row for row in report.rows if row.quality is not None and row.quality.per_class]
    if not rows:
        return []
    first = rows[0].quality
    names = list(first.per_class) if first is not None else []
    lines = [
        f"## {escaped(first.metric if first is not None else '')} by class, in percent",
        "",
        _row(["class", *(escaped(row.name) for row in rows)]),
        _row([":---", *(["---:"] * len(rows))]),
    ]
    for name in names:
        found = [row.quality.per_class[name].value if row.quality is not None else None for row in rows]
        lines.append(_row([escaped(name), *("–" if value is None else f"{value * 100:.2f}" for value in found)]))
    return [*lines, ""]


def _row(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _cell(cell: cells.Cell) -> str:
    return "<br>".join(escaped(line) for line in (cell.main, cell.detail) if line)


def escaped(text: str) -> str:
    """Text without what Markdown would take for its own."""
    return _SPECIAL.sub(r"\\\1", text)
