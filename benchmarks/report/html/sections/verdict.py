"""The head of the page: what the report is of, whether its limits are held, and which one is not."""

from __future__ import annotations

from markupsafe import Markup

from visiondeploy.benchmarks.report.cells import machine, number, plain
from visiondeploy.benchmarks.report.html.content import Content
from visiondeploy.benchmarks.report.html.templating import filled
from visiondeploy.benchmarks.report.schema import Check, Report, Row, Verdict
from visiondeploy.types import Outcome, Status

SIGNS = {Outcome.PASS: "✓", Outcome.FAIL: "✕", Outcome.INCONCLUSIVE: "?"}
"""Beside the words, so that colour is not all that tells them apart."""

_WORDS = {Outcome.FAIL: "failed", Outcome.INCONCLUSIVE: "inconclusive", Outcome.PASS: "passed"}


def heading(content: Content) -> Markup:
    """The heading of the page, with the verdict."""
    report = content.report
    verdict = report.verdict
    return filled(
        "heading",
        title=content.title,
        machine=machine(report.environment),
        status=verdict.status.value,
        look=verdict.status.value.lower(),
        sign=SIGNS[verdict.status],
        reason=_reason(verdict),
        counts=_counts(verdict),
        facts=_facts(report),
    )


def _reason(verdict: Verdict) -> str:
    """The first check that keeps the verdict from PASS, as a sentence; else that all were held."""
    if not verdict.checks:
        return "There was no limit to check."
    first = verdict.by_severity()[0]
    if first.status is Outcome.PASS:
        return "Every limit is held."
    decides = f" It takes {plain(first.needed)} to decide." if first.needed else ""
    return f"{plain(first.name)}: found {plain(first.found)}, limit {plain(first.limit)}.{decides}"


def _counts(verdict: Verdict) -> list[tuple[str, str]]:
    """How many checks ended how, with the class of each; those that none ended in are left out."""
    found = [(status, sum(check.status is status for check in verdict.checks)) for status in _WORDS]
    return [(f"{SIGNS[status]} {count} {_WORDS[status]}", status.value.lower()) for status, count in found if count]


def _facts(report: Report) -> list[tuple[str, str, str]]:
    """The fastest engine: what it is, and its three numbers, each with a line below."""
    measured = [row for row in report.rows[1:] if row.status is Status.OK and row.speedup and row.latency_ms]
    if not measured:
        return []
    fastest = max(measured, key=lambda row: row.speedup.value if row.speedup else 0.0)
    checks = _of(fastest, report.verdict)
    doubts = [check for check in checks if check.status is not Outcome.PASS]
    held = "its limits are held" if checks and not doubts else f"{len(doubts)} of its checks not passed"
    facts = [("fastest engine", plain(fastest.name), held if checks else "")]
    if fastest.speedup:
        low, high = fastest.speedup.ci95
        facts.append(("speed-up", f"{number(fastest.speedup.value)}×", f"95 % CI {number(low)} to {number(high)}"))
    if fastest.latency_ms and fastest.latency_ms.p50 is not None:
        before = report.baseline.latency_ms
        was = f"baseline {number(before.p50)} ms" if before and before.p50 is not None else ""
        facts.append(("p50", f"{number(fastest.latency_ms.p50)} ms", was))
    if fastest.quality is not None:
        quality = fastest.quality
        facts.append((plain(quality.metric), f"{quality.value:.4f}", f"baseline {quality.baseline:.4f}"))
    return facts


def _of(row: Row, verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.name.startswith(f"{row.name}:")]
