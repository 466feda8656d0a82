"""Metrics by what they are made of: by class, or for losses by layer."""

from __future__ import annotations

from collections.abc import Sequence

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, plain
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Heading, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import Table, table
from visiondeploy.benchmarks.report.plots import parts
from visiondeploy.benchmarks.report.schema import Quality


def section(content: Content) -> Section | None:
    """A plot and a table for each metric that has parts; none where no metric has."""
    metrics = parts.metrics(content.report)
    blocks: list[Block] = []
    for number, metric in enumerate(metrics, start=1):
        found = parts.of(content.report, metric)
        first = found[0][1]
        said = f"{plain(metric)} by {plain(first.part)}"
        if len(metrics) > 1:
            blocks.append(Heading(said))
        blocks += content.figures(f"parts-{number}", _caption(first))
        blocks.append(Fold(f"{said}, in numbers", (Tabular(_table(said, found)),)))
    part = parts.of(content.report, metrics[0])[0][1].part if metrics else ""
    return Section("quality", f"Quality by {plain(part)}", tuple(blocks)) if blocks else None


def _caption(quality: Quality) -> str:
    if quality.smaller:
        return (
            "The baseline's loss, then by how many percent each engine's differs: a bar to the right is a larger loss, "
            "which is worse. Blue is better, orange is worse."
        )
    return (
        "The baseline's value in percent, then by how many points each engine differs: a bar to the left is worse. All "
        "panels of engines have one scale. Blue is better, orange is worse."
    )


def _table(caption: str, found: Sequence[tuple[str, Quality]]) -> Table:
    """A row for each part, a column for each row of the report: its value, and below it the difference."""
    first = found[0][1]
    names = list(first.per_class)
    scale, digits = (1, 4) if first.smaller else (100, 2)

    def column(name: str, quality: Quality, *, baseline: bool) -> Column[str]:
        changed = dict(zip(quality.per_class, parts.changes(quality), strict=True))

        def cell(part: str) -> Cell:
            change = changed.get(part)
            if change is None or change.value is None:
                return Cell(NOTHING)
            return Cell(f"{change.value * scale:.{digits}f}", "" if baseline else change.said)

        return Column(Cell(plain(name)), "right", cell)

    columns = [column(name, quality, baseline=number == 0) for number, (name, quality) in enumerate(found)]
    unit = "%" if first.smaller else "points"
    headed = f"{caption}{'' if first.smaller else ', in percent'}; below: difference to the baseline in {unit}"
    rows = ((Cell(plain(part)), "") for part in names)
    return table(headed, Cell(plain(first.part)), columns, names, rows)
