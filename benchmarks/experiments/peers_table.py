"""What comes out of a comparison with the peers: is ours level with the best of them, and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from visiondeploy.benchmarks.report import markdown
from visiondeploy.benchmarks.report.cells import machine, number, plain
from visiondeploy.benchmarks.report.schema import Check, Report, Row
from visiondeploy.benchmarks.statistics import at_least
from visiondeploy.types import Outcome, Status

OURS = "ours"
DECIBELS = 0.5
"""By how much an SQNR may be below the best peer's and still be level."""
POINTS = 0.1
"""The same for the share of pixels that agree, in points of 100."""
SLOWER = 0.95
"""The share of the fastest peer's speed-up from which on ours is as fast."""


def row_name(method: str, backend: str) -> str:
    """The name of a method's row on a backend."""
    return f"{method}-{backend}"


def level(rows: Sequence[Row]) -> Iterator[Check]:
    """Ours against the best peer on the same backend: SQNR, pixels, speed. Nothing where no peer ran."""
    for ours in rows:
        if ours.name != row_name(OURS, ours.backend):
            continue
        peers = [row for row in rows if row.backend == ours.backend and row is not ours and row.status is Status.OK]
        if ours.status is not Status.OK:
            yield Check(name=f"{ours.name}: runs", limit="ok", found=ours.reason or "", status=Outcome.FAIL)
        elif peers:
            yield from _level_of(ours, peers)


def _level_of(ours: Row, peers: Sequence[Row]) -> Iterator[Check]:
    best = max(peers, key=_sqnr_db)
    limit = _sqnr_db(best) - DECIBELS
    yield Check(
        name=f"{ours.name}: SQNR",
        limit=f"≥ {limit:.1f} dB ({best.name} less {DECIBELS})",
        found=f"{_sqnr_db(ours):.1f} dB",
        status=_held(_sqnr_db(ours) >= limit),
    )
    best = max(peers, key=_pixels)
    limit = _pixels(best) - POINTS / 100
    yield Check(
        name=f"{ours.name}: pixels",
        limit=f"≥ {limit:.2%} ({best.name} less {POINTS} points)",
        found=f"{_pixels(ours):.2%}",
        status=_held(_pixels(ours) >= limit),
    )
    fastest = max(peers, key=_speedup)
    if ours.speedup is not None and fastest.speedup is not None:
        limit, (low, high) = SLOWER * _speedup(fastest), ours.speedup.ci95
        yield Check(
            name=f"{ours.name}: speed",
            limit=f"≥ {number(limit)}× ({SLOWER:.0%} of {fastest.name})",
            found=f"{number(ours.speedup.value)}× [{number(low)}, {number(high)}]",
            status=at_least((low, high), limit),
        )


def _held(held: bool) -> Outcome:
    return Outcome.PASS if held else Outcome.FAIL


def _sqnr_db(row: Row) -> float:
    """Infinite where outputs are equal, −∞ where they are no numbers."""
    found = row.agreement
    if found is None or found.sqnr_db is None:
        return float("inf") if found is not None and found.exact else float("-inf")
    return found.sqnr_db


def _pixels(row: Row) -> float:
    return row.agreement.pixels if row.agreement is not None and row.agreement.pixels is not None else 0.0


def _speedup(row: Row) -> float:
    return row.speedup.value if row.speedup is not None else 0.0


def section(title: str, report: Report) -> str:
    """One network: the table, why a row has no numbers, and whether ours is level with the best."""
    said = [*report.notes, *(f"{row.name}: {note}" for row in report.rows for note in row.notes)]
    said += [f"{row.name} failed: {row.reason}" for row in report.rows if row.status is not Status.OK]
    lines = [f"## {markdown.escaped(title)}", "", *markdown.table(report), ""]
    lines += [*(f"- {markdown.escaped(plain(line))}" for line in said), *([""] if said else [])]
    return "\n".join([*lines, *(markdown.checks(report.verdict) if report.verdict.checks else []), ""])


def document(reports: Mapping[str, Report], text: str, made_by: str) -> str:
    """The sections of all networks by their titles below what is said of them all, and the command that made it."""
    here = next(iter(reports.values())).environment
    sections = "\n".join(section(title, report) for title, report in reports.items())
    nncf = f" · nncf {here.versions['nncf']}" if "nncf" in here.versions else ""
    head = f"# int8 beside its peers\n\n{markdown.escaped(machine(here))}{nncf}\n\n{text}\n"
    return f"{head}\n{sections}\nMade by `{made_by}`.\n"
