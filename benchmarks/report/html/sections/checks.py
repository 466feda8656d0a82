"""The checks behind the verdict, those that failed first."""

from __future__ import annotations

from collections.abc import Sequence

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, plain
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Prose, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.sections.verdict import SIGNS
from visiondeploy.benchmarks.report.html.tables import Table, table
from visiondeploy.benchmarks.report.schema import Check
from visiondeploy.types import Outcome

_FEW = 6
"""Checks that passed and are shown at once."""


def section(content: Content) -> Section:
    """Those that did not pass, then the others, folded where they are many."""
    checks = content.report.verdict.by_severity()
    worse = [check for check in checks if check.status is not Outcome.PASS]
    passed = [check for check in checks if check.status is Outcome.PASS]
    blocks: list[Block] = []
    if not checks:
        blocks.append(Prose("No limit was set for this report, so nothing is shown to hold."))
    if worse:
        blocks.append(Tabular(_table("Checks that did not pass", worse)))
    if passed:
        shown = Tabular(_table("Checks that passed", passed))
        said = f"{len(passed)} checks passed" if len(passed) > 1 else "one check passed"
        blocks.append(shown if len(passed) <= _FEW else Fold(said, (shown,)))
    return Section("checks", "Checks", tuple(blocks))


def _table(caption: str, checks: Sequence[Check]) -> Table:
    columns: list[Column[Check]] = [
        Column(Cell("outcome"), "left", lambda check: Cell(f"{SIGNS[check.status]} {check.status.value}")),
        Column(Cell("found"), "left", lambda check: Cell(plain(check.found))),
        Column(Cell("limit"), "left", lambda check: Cell(plain(check.limit))),
    ]
    if any(check.p_value is not None for check in checks):
        columns.append(Column(Cell("p"), "right", lambda check: Cell(_p(check.p_value))))
    if any(check.needed for check in checks):
        columns.append(Column(Cell("would decide"), "left", lambda check: Cell(plain(check.needed or NOTHING))))
    names = ((Cell(plain(check.name)), check.status.value.lower()) for check in checks)
    return table(caption, Cell("check"), columns, checks, names, stacked=True)


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
