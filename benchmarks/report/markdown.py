"""A report as Markdown (GitHub's dialect), for the files in `benchmarks/results/`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from visiondeploy.benchmarks.report import cells, compression_cells
from visiondeploy.benchmarks.report.compression import Compression, Variant
from visiondeploy.benchmarks.report.scenario_cells import scenario_tables
from visiondeploy.benchmarks.report.schema import Check, Report, Verdict

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(report: Report, title: str = "Benchmark") -> str:
    """The report as Markdown text with a final newline, in the order in which the terminal shows it.

    What has a heading of its own follows the verdict: scenarios, the compression, and the metric by class.
    """
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
    lines += scenarios(report)
    if report.compression is not None:
        lines += ["## Compression", "", *compression(report.compression)]
    return "\n".join([*lines, *_per_class(report)])


def compression_page(found: Compression, title: str = "Compression") -> str:
    """What compressing did as a page of its own, Markdown with a final newline."""
    return "\n".join([f"# {escaped(title)}", "", *compression(found)])


def compression(found: Compression) -> list[str]:
    """The lines of the section, without its heading: variants, layers, notes; with an empty one last."""
    lines = [f"{escaped(compression_cells.headline(found)).removeprefix('compression: ')}.", "", *_variants(found), ""]
    if found.layers:
        columns = compression_cells.layer_columns()
        names = (_cell(compression_cells.layer_name(layer)) for layer in found.layers)
        lines += [
            *_table(compression_cells.LAYERS, columns, found.layers, names),
            _row([_bold(_cell(cell)) for cell in compression_cells.layers_total(found)]),
            "",
        ]
    notes = compression_cells.notes(found)
    return [*lines, *(f"- {escaped(line)}" for line in notes), ""] if notes else lines


def _variants(found: Compression) -> list[str]:
    def name(variant: Variant) -> str:
        cell = _cell(compression_cells.name(variant, found))
        return _bold(cell) if variant.name == found.chosen else cell

    change: cells.Column[Variant] = cells.Column(
        cells.Cell("change"), "left", lambda one: compression_cells.change(one, found)
    )
    columns = (change, *compression_cells.columns(found))
    return _table(compression_cells.VARIANTS, columns, found.variants, map(name, found.variants))


def table(report: Report) -> list[str]:
    """The lines of the table of engines alone."""
    return _table(cells.NAMES, cells.columns(report), report.rows, (_cell(cells.name(row)) for row in report.rows))


def scenarios(report: Report) -> list[str]:
    """The lines of the scenarios, each under a heading with an empty line last; none where there are none."""
    lines: list[str] = []
    for found in scenario_tables(report):
        names = (_cell(cells.name(row)) for row in found.rows)
        lines += [f"## Scenario {escaped(found.title)}", "", *_table(cells.NAMES, found.columns, found.rows, names), ""]
        if found.notes:
            lines += [*(f"- {escaped(line)}" for line in found.notes), ""]
    return lines


def checks(verdict: Verdict) -> list[str]:
    """The lines of the table of checks, failed ones first."""
    return [
        _row(["check", "limit", "found", "outcome"]),
        _row([":---"] * 4),
        *(
            _row([escaped(cells.plain(said)) for said in (check.name, check.limit, check.found, _outcome(check))])
            for check in verdict.by_severity()
        ),
    ]


def _outcome(check: Check) -> str:
    return f"{check.status.value}: {check.needed}" if check.needed else check.status.value


def _per_class(report: Report) -> list[str]:
    """The metric of every part (class), a column an engine, in percent; nothing where no row has it."""
    rows = [row for row in report.rows if row.quality is not None and row.quality.per_class]
    if not rows:
        return []
    first = rows[0].quality
    names = list(first.per_class) if first is not None else []
    part = escaped(first.part if first is not None else "")
    lines = [
        f"## {escaped(first.metric if first is not None else '')} by {part}, in percent",
        "",
        _row([part, *(escaped(row.name) for row in rows)]),
        _row([":---", *(["---:"] * len(rows))]),
    ]
    for name in names:
        found = [row.quality.per_class[name].value if row.quality is not None else None for row in rows]
        lines.append(_row([escaped(name), *("–" if value is None else f"{value * 100:.2f}" for value in found)]))
    return [*lines, ""]


def _table(
    heading: cells.Cell,
    columns: Sequence[cells.Column[cells.Line]],
    found: Sequence[cells.Line],
    names: Iterable[str],
) -> list[str]:
    return [
        _row([_cell(heading), *(_cell(column.heading) for column in columns)]),
        _row([":---", *("---:" if column.align == "right" else ":---" for column in columns)]),
        *(
            _row([name, *(_cell(column.cell(line)) for column in columns)])
            for name, line in zip(names, found, strict=True)
        ),
    ]


def _row(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _cell(cell: cells.Cell) -> str:
    return "<br>".join(escaped(line) for line in (cell.main, cell.detail) if line)


def _bold(text: str) -> str:
    return "<br>".join(f"**{line}**" for line in text.split("<br>")) if text else ""


def escaped(text: str) -> str:
    """Text without what Markdown would take for its own."""
    return _SPECIAL.sub(r"\\\1", text)
