"""The verdict in one line, with what is most telling of what is wrong."""

from __future__ import annotations

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.schema import Check, Verdict
from visiondeploy.types import Outcome


def headline(verdict: Verdict) -> str:
    """ "FAIL: unet-int8: miou −31.20 points, … (limit: at most 0.5 points below the baseline), and 2 more"."""
    if verdict.status is Outcome.PASS or not verdict.checks:
        return cells.verdict_line(verdict)
    first, *others = [check for check in verdict.by_severity() if check.status is verdict.status]
    more = f", and {len(others)} more" if others else ""
    return f"{verdict.status.value}: {sentence(first)}{more}"


def sentence(check: Check) -> str:
    """A check on one line: "unet-int8: miou −31.20 points (limit: at most 0.5 points below the baseline)"."""
    decided = f"; {check.needed}" if check.needed else ""
    return cells.plain(f"{check.name} {check.found} (limit: {check.limit}{decided})")
