"""The verdict of a suite over a report. Nothing here measures, reads or writes.

Checks stand in the order in which they explain one another: a run with half the threads explains slow engines, a layer
that parts from its source explains pixels that do not agree, and these explain a metric that falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from visiondeploy.benchmarks.case import CannotHold, Case, NotJudged
from visiondeploy.benchmarks.quantities import Finding, Open, judge, wording
from visiondeploy.benchmarks.report.schema import Check, Environment, Report, Row, Verdict
from visiondeploy.benchmarks.suite import Limit, Suite
from visiondeploy.benchmarks.verdicts import Tested, block_seconds, settle
from visiondeploy.types import Outcome, Status

RUN, MATCH, RUNS, OUTPUTS, PARITY, LAYERS = range(6)
"""The first places in the order of checks."""

_ORDER = ("agreement", "sqnr", "ssim", "", "worst-class", "off-precision", "speedup", "p50", "p90", "p99", "size")
"""Quantities in the order of what they explain; "" is any metric."""

Ranked = tuple[int, Check | Tested]


def verdict(suite: Suite, case: Case, more: Iterable[Ranked] = ()) -> Verdict:
    """All limits of a suite, those that are tested with the correction for how many they are (`decisions`).

    `more` are checks of others, each with its place in the order.
    """
    report = case.report
    found = [*of_run(suite, report), *_lost(suite, case), *more]
    found += [(PARITY, check) for check in report.verdict.checks if check.origin == "build"]
    judged: dict[str, Row] = {}
    for number, limit in enumerate(suite.limits, start=1):
        rows = [row for row in report.rows[1:] if not row.base and limit.matches(row)]
        if not rows:
            found.append((MATCH, _unmatched(number, limit, report)))
        for row in rows:
            judged[row.name] = row
            if row.status is Status.OK and not _is_new(limit, row, case):
                found.append((_place(limit), _check(limit, row, case, suite)))
    found += [ranked for row in judged.values() for ranked in _of_row(row)]
    checks = settle(check for _, check in sorted(found, key=lambda ranked: ranked[0]))
    return Verdict.of(
        check if check.origin is not None else check.model_copy(update={"origin": "suite"}) for check in checks
    )


def of_run(suite: Suite, report: Report) -> list[Ranked]:
    """Whether the run is the one that the suite is about: its threads and its images."""
    found: list[Ranked] = []
    here, wanted = report.environment, suite.measure
    if wanted.threads is not None:
        status = Outcome.PASS if here.threads == wanted.threads else Outcome.FAIL
        said = f"ran on {_count(here.threads, 'thread')}"
        found.append((RUN, _suite("threads", f"the suite wants {wanted.threads}", said, status)))
    if suite.timed:
        fewer = _fewer_cores(here)
        if fewer:
            limit = f"a core for each of {_count(here.threads, 'thread')}"
            found.append((RUN, _suite("cores", limit, fewer, Outcome.FAIL)))
    seen = min((row.quality.n for row in report.rows if row.quality is not None), default=None)
    if wanted.images is not None and seen is not None and seen < wanted.images:
        said = f"quality was measured on {_count(seen, 'image')}"
        found.append((RUN, _suite("images", f"the suite wants {wanted.images}", said, Outcome.INCONCLUSIVE)))
    return found


def _fewer_cores(here: Environment) -> str | None:
    """Why the threads of a run did not have a core each; None where they had."""
    if here.cores_available is not None and here.cores_available < here.threads:
        return f"the process may run on {_count(here.cores_available, 'core')} (its affinity)"
    if here.cpu_quota is not None and here.cpu_quota < here.threads:
        return f"the control group grants the time of {here.cpu_quota:g} cores"
    limits = {
        name: value
        for name, value in here.variables.items()
        if name.endswith("_NUM_THREADS") and value.isdecimal() and int(value) < here.threads
    }
    return ", ".join(f"{name} is {value}" for name, value in limits.items()) or None


def _lost(suite: Suite, case: Case) -> list[Ranked]:
    """Engines that the base has and the candidate has not."""
    if not suite.needs("base"):
        return []
    rows = case.report.rows
    ours = {(row.backend, row.precision.value) for row in rows if not row.base}
    lost = [row for row in rows if row.base and (row.backend, row.precision.value) not in ours]
    return [
        (
            MATCH,
            _suite(
                f"{row.name}: engine",
                "the candidate has it too",
                f"the candidate has none of {row.backend} in {row.precision.value}",
                Outcome.INCONCLUSIVE,
            ),
        )
        for row in lost
    ]


def _is_new(limit: Limit, row: Row, case: Case) -> bool:
    """Whether there is nothing in the base to compare with, though there is a base: the report's notes say so."""
    if limit.compared_with != "base" or not case.bases:
        return False
    return (row.backend, row.precision.value) not in {
        (each.backend, each.precision.value) for each in case.report.rows if each.base
    }


def _unmatched(number: int, limit: Limit, report: Report) -> Check:
    names = ", ".join(row.name for row in report.rows[1:] if not row.base) or "none but the baseline"
    where = limit.selector or "any row"
    return _suite(
        f"limit {number} ({limit.quantity})", f"rows with {where}", f"it matches no row of: {names}", Outcome.FAIL
    )


def _of_row(row: Row) -> list[Ranked]:
    """That it runs, and gives numbers; nothing of one that does."""
    if row.status is not Status.OK:
        # An engine whose runtime is not here shows nothing, neither good nor bad.
        status = Outcome.INCONCLUSIVE if row.status is Status.NOT_RUN else Outcome.FAIL
        return [(RUNS, _suite(f"{row.name}: runs", "ok", row.reason or "", status))]
    if row.agreement is not None and not row.agreement.finite:
        return [(OUTPUTS, _suite(f"{row.name}: outputs", "finite numbers", "NaN or infinity", Outcome.FAIL))]
    return []


def _check(limit: Limit, row: Row, case: Case, suite: Suite) -> Check | Tested:
    name, said = f"{row.name}: {limit.quantity}", wording(limit)
    try:
        found = judge(limit, row, case, suite.measure)
    except NotJudged as error:
        found = Finding(str(error), Outcome.INCONCLUSIVE, error.needed)
    except CannotHold as error:
        found = Finding(str(error), Outcome.FAIL)
    if isinstance(found, Open):
        seconds = block_seconds(case.report.rows) if found.unit == "blocks" else None
        return Tested(name, said, found.found, found.claim, found.unit, seconds)
    return Check(name=name, limit=said, found=found.found, status=found.status, needed=found.needed)


def _place(limit: Limit) -> int:
    known = _ORDER.index(limit.quantity) if limit.quantity in _ORDER else None
    if known is None:
        known = len(_ORDER) if limit.quantity == "memory" else _ORDER.index("")
    return LAYERS + 1 + known


def _suite(name: str, limit: str, found: str, status: Outcome) -> Check:
    return Check(name=name, limit=limit, found=found, status=status)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pairing_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Sentences on engines that only one of base and candidate has; none where there is no base."""
    bases = {(row.backend, row.precision): row.name for row in rows if row.base}
    ours = {(row.backend, row.precision): row.name for row in rows[1:] if not row.base}
    if not bases:
        return ()
    new = (f"{name} is new: the base has no such engine" for key, name in ours.items() if key not in bases)
    lost = (f"{name}: the candidate has no such engine" for key, name in bases.items() if key not in ours)
    return (*new, *lost)
