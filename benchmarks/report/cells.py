"""What stands in the cells of a report's table, in plain text, for the terminal and for Markdown alike.

A cell has a main line and a line of detail. What was not measured is a dash, never a guess. 100 % of
pixels means every pixel, and "exact" that outputs are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

from visiondeploy.benchmarks.report import trust
from visiondeploy.benchmarks.report.measured import Latency, Speedup
from visiondeploy.benchmarks.report.schema import AgreementRow, Environment, GpuLoad, Quality, Report, Row, Verdict
from visiondeploy.types import Outcome, Status

NOTHING = "–"

_SAID = {Outcome.PASS: "passed", Outcome.FAIL: "failed", Outcome.INCONCLUSIVE: "inconclusive"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A main line and what stands below it."""

    main: str
    detail: str = ""


NAMES = Cell("engine")

Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class Column(Generic[Line]):
    """The heading of a column, how it is aligned, and what a line of the table shows in it."""

    heading: Cell
    align: Literal["left", "right"]
    cell: Callable[[Line], Cell]


def columns(report: Report) -> tuple[Column[Row], ...]:
    """The columns of the report's table, left to right, after that of the names (`NAMES`, `name`)."""
    metrics = dict.fromkeys(plain(row.quality.metric) for row in report.rows if row.quality is not None)
    more = dict.fromkeys(quality.metric for row in report.rows for quality in row.more)
    alike = dict.fromkeys(measure for row in report.rows for measure in row.likeness)
    # The baseline's own row is equal to itself, whatever its outputs are.
    compared = [row.agreement.outputs for row in report.rows[1:] if row.agreement is not None]
    has_values = not compared or "values" in compared

    def quality(row: Row) -> Cell:
        return _quality(row.quality, baseline=row is report.baseline)

    def other(row: Row, metric: str) -> Cell:
        found = next((quality for quality in row.more if quality.metric == metric), None)
        return _quality(found, baseline=row is report.baseline)

    def speedup(row: Row) -> Cell:
        return _speedup(row.speedup, baseline=row is report.baseline)

    return (
        Column(Cell("layers", "by type"), "left", _precision),
        Column(Cell(" / ".join(metrics) or "quality", "Δ, 95 % CI"), "left", quality),
        *(Column(Cell(plain(metric), "Δ, 95 % CI"), "left", partial(other, metric=metric)) for metric in more),
        *(Column(Cell(plain(measure), "95 % CI"), "left", partial(_likeness, measure=measure)) for measure in alike),
        Column(Cell("agrees", "SQNR" if has_values else ""), "right", _agreement),
        Column(Cell("p50 ms", "p90 / p99"), "right", _latency),
        Column(Cell("speed-up", "95 % CI"), "right", speedup),
        Column(Cell("size", "peak RSS"), "right", _memory),
    )


def name(row: Row) -> Cell:
    """The row's name, and its status where that is not ok."""
    status = {Status.OK: "", Status.FAILED: "failed", Status.NOT_RUN: "not run"}[row.status]
    return Cell(plain(row.name), status)


def surprises(report: Report) -> tuple[str, ...]:
    """Sentences on what is not as was asked for: to be read before the numbers."""
    found: list[str] = []
    for row in report.rows:
        # A row that has surprises of its own says there why its layers are off.
        if row.off_precision and not row.surprises:
            found.append(f"{row.name}: {_off_precision(row)}")
        if row.agreement is not None and not row.agreement.finite:
            found.append(f"{row.name}: some of its outputs are NaN or infinite.")
        if row.status is Status.FAILED:
            found.append(f"{row.name} failed: {row.reason}")
        found += [f"{row.name}: {said}" for said in row.surprises]
    found += trust.warnings(report)
    return tuple(plain(line) for line in found)


def notes(report: Report) -> tuple[str, ...]:
    """Sentences that explain the numbers: what was not run and why, then the notes of rows and report."""
    found = [f"{row.name} was not run: {row.reason}" for row in report.rows if row.status is Status.NOT_RUN]
    found += [f"{row.name}: {said}" for row in report.rows for said in row.notes]
    found += report.notes
    found += trust.notes(report)
    found += [_gpu(load) for load in report.environment.gpus]
    if any(row.latency_ms is not None and row.latency_ms.p99 is None for row in report.rows):
        found.append("A dash in the place of a percentile: too few runs to support it.")
    return tuple(plain(line) for line in found)


def machine(environment: Environment) -> str:
    """One line: processor, threads, GPU and the versions that matter most."""
    threads = f"{environment.threads} thread{'s' if environment.threads > 1 else ''}"
    isa = ", ".join(environment.isa)
    tools = [
        f"{name} {environment.versions[name]}"
        for name in ("torch", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
        if name in environment.versions
    ]
    parts = [environment.cpu + (f" ({isa})" if isa else ""), threads, environment.gpu or "no GPU", *tools]
    return plain(" · ".join(parts))


def _gpu(load: GpuLoad) -> str:
    """How a GPU was while it was measured, and whether it could do what it can."""
    said = [f"GPU {load.index}, {load.name}, driver {load.driver}"]
    if load.sm_mhz is not None:
        low, middle, high = load.sm_mhz
        can = f", of {load.sm_mhz_max:.0f}" if load.sm_mhz_max is not None else ""
        said.append(f"at {middle:.0f} MHz ({low:.0f} to {high:.0f}{can})")
    if load.watts is not None:
        said.append(f"up to {load.watts:.0f} W" + (f" of {load.watts_limit:.0f}" if load.watts_limit else ""))
    if load.celsius is not None:
        said.append(f"up to {load.celsius:.0f} °C")
    if load.throttled:
        said.append(f"it clocked down ({', '.join(load.throttled)}), so that times are those of its limits")
    return ", ".join(said)


def verdict_line(verdict: Verdict) -> str:
    """One line: the outcome and how many checks stand behind it."""
    total = len(verdict.checks)
    if total == 0:
        return f"{verdict.status.value}: there was no limit to check."
    alike = sum(check.status is verdict.status for check in verdict.checks)
    return f"{verdict.status.value}: {alike} of {total} check{'s' if total > 1 else ''} {_SAID[verdict.status]}."


def plain(text: str) -> str:
    """The text on one line, control characters (also those of a terminal) made visible as `�`."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def number(value: float) -> str:
    """Three significant digits, or all before the decimal point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    # Of the rounded value, as 0.9999 has a digit less behind the point than it seems.
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.3g}")))))
    return f"{value:.{digits}f}"


def signed(value: float) -> str:
    """Four decimals with a sign; a true minus, as wide as the plus."""
    return "±0.0000" if value == 0 else f"{value:+.4f}".replace("-", "−")


def size(count: int) -> str:
    """Bytes in decimal units."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def count(number_of: int) -> str:
    """How many, in thousands (k), millions (M) and so on."""
    return _scaled(number_of, ("", "k", "M", "G", "T"))


def _scaled(total: int, units: tuple[str, ...]) -> str:
    value = float(total)
    for unit in units[:-1]:
        if value < 999.5:
            return f"{total if unit == units[0] else number(value)} {unit}".rstrip()
        value /= 1000
    return f"{number(value)} {units[-1]}"


def _precision(row: Row) -> Cell:
    counts = [f"{plain(kind)} {n}" for kind, n in (row.realised or {}).items()]
    return Cell(counts[0], ", ".join(counts[1:])) if counts else Cell(NOTHING)


def _off_precision(row: Row) -> str:
    wanted, realised = row.precision.value, row.realised or {}
    first, *more = row.off_precision.items()
    others = "".join(f", {n} in {kind}" for kind, n in more)
    stored = row.stored.get(wanted, 0)
    only_stored = f"; {stored} store their weights in {wanted}" if stored > realised.get(wanted, 0) else ""
    return (
        f"{wanted} was asked for, {first[1]} of {sum(realised.values())} layers compute in "
        f"{first[0]}{others}{only_stored}."
    )


def _quality(quality: Quality | None, *, baseline: bool) -> Cell:
    if quality is None:
        return Cell(NOTHING)
    if baseline:
        return Cell(f"{quality.value:.4f}", "baseline")
    if quality.smaller:
        # A loss has no scale that one knows: what says something is its rise.
        gain, bounds = quality.gain
        interval = f"[{_rise(bounds[1])}, {_rise(bounds[0])}]" if bounds else "no interval"
        return Cell(f"{quality.value:.4f} ({_rise(gain)})", interval)
    interval = f"[{signed(quality.ci95[0])}, {signed(quality.ci95[1])}]" if quality.ci95 else "no interval"
    return Cell(f"{quality.value:.4f} ({signed(quality.delta)})", interval)


def _rise(gain: float) -> str:
    """By how much a loss rose where this was gained, in percent."""
    return f"{-gain:+.2f} %".replace("-", "−") if gain else "±0.00 %"


def _likeness(row: Row, measure: str) -> Cell:
    found = row.likeness.get(measure)
    if found is None:
        return Cell(NOTHING)
    shown = number if abs(found.value) > 1 else "{:.4f}".format
    interval = f"[{shown(found.ci95[0])}, {shown(found.ci95[1])}]" if found.ci95 else "no interval"
    return Cell(shown(found.value), interval)


def _agreement(row: Row) -> Cell:
    agreement: AgreementRow | None = row.agreement
    if agreement is None:
        return Cell(NOTHING)
    pixels = NOTHING if agreement.pixels is None else _share(agreement.pixels)
    if agreement.exact:
        return Cell(pixels, "exact")
    if not agreement.finite:
        return Cell(pixels, "NaN/inf")
    if agreement.outputs == "classes":
        return Cell(pixels)
    return Cell(pixels, NOTHING if agreement.sqnr_db is None else f"{agreement.sqnr_db:.1f} dB".replace("-", "−"))


def _share(share: float) -> str:
    text = f"{share:.2%}"
    return "99.99 %" if text == "100.00%" and share < 1 else text.replace("%", " %")


def _latency(row: Row) -> Cell:
    latency: Latency | None = row.latency_ms
    if latency is None:
        return Cell(NOTHING)
    p50, p90, p99 = (NOTHING if value is None else number(value) for value in (latency.p50, latency.p90, latency.p99))
    return Cell(p50, f"{p90} / {p99}")


def _speedup(speedup: Speedup | None, *, baseline: bool) -> Cell:
    if speedup is None:
        return Cell(NOTHING)
    if baseline:
        return Cell("1×", "baseline")
    low, high = speedup.ci95
    return Cell(f"{number(speedup.value)}×", f"[{number(low)}, {number(high)}]")


def _memory(row: Row) -> Cell:
    def shown(count: int | None) -> str:
        return NOTHING if count is None else size(count)

    return Cell(shown(row.size_bytes), shown(row.peak_rss_bytes))
