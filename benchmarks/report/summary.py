"""A verdict in Markdown, for the summary of a job: the headline, the checks, and the table of engines folded away."""

from __future__ import annotations

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.headline import headline
from visiondeploy.benchmarks.report.markdown import checks, escaped, table
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.types import Outcome

_MARKS = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.INCONCLUSIVE: "⚠️"}


def to_summary(report: Report, suite: str) -> str:
    """GitHub's Markdown with a final newline; GitLab shows it as well."""
    verdict = report.verdict
    lines = [f"## {_MARKS[verdict.status]} Suite {escaped(suite)}: {verdict.status.value}", ""]
    lines += [f"**{escaped(headline(verdict))}**", ""]
    if verdict.checks:
        lines += [*checks(verdict), ""]
    # A blank line after the tag, or GitHub takes what follows for HTML.
    lines += ["<details><summary>Engines</summary>", "", escaped(cells.machine(report.environment)), ""]
    lines += [*table(report), ""]
    notes = (*cells.surprises(report), *cells.notes(report))
    lines += [*(f"- {escaped(note)}" for note in notes), ""] if notes else []
    return "\n".join([*lines, "</details>", ""])
