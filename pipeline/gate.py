"""The verdict: limits of the recipe against what was measured. Nothing here measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Row, Verdict
from visiondeploy.benchmarks.verdicts import (
    Tested,
    block_seconds,
    likeness_limit,
    parts_limit,
    quality_limit,
    settle,
    speedup_limit,
)
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.recipe import LimitSettings
from visiondeploy.pipeline.stages import adopt
from visiondeploy.types import Ending, Outcome, Realised, Status

NAMED = 40
"""Layers that a sentence names; `build.json` has all."""

UNTRAINED = "the weights are random: the metric says nothing and is not judged"
END_TO_END = {
    Ending.CLASSES: (
        "input and output are uint8: latency and memory, of PyTorch too, include normalisation of the raw image and "
        "the class of each pixel; class maps have no SQNR, so it is measured before, on the graphs without these"
    ),
    Ending.PIXELS: (
        "input and output are uint8: latency and memory, of PyTorch too, include normalisation of the raw image and "
        "rounding to pixels"
    ),
}


def notes(spec: NetworkSpec, trained: bool) -> tuple[str, ...]:
    """Sentences of a report that hold for all its rows."""
    ending = task_of(spec).ending
    served = () if ending is None else (END_TO_END[ending],)
    return (*(() if trained else (UNTRAINED,)), *served, *adopt.notes(spec))


def parity_check(name: str, found: AgreementRow, sqnr_db: float, pixels: float | None) -> Check:
    """PASS where the SQNR reaches `sqnr_db` decibels and, if `pixels` is given, that share of the classes agrees."""
    limit = f"SQNR ≥ {sqnr_db:g} dB"
    good = found.exact or (found.sqnr_db is not None and found.sqnr_db >= sqnr_db)
    unknown = "not finite" if found.outputs == "values" else "class maps, which have none"
    measured = "equal" if found.exact else unknown if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
    if pixels is not None and found.pixels is not None:
        limit += f", {pixels:.2%} of pixels agree"
        good = good and found.pixels >= pixels
        measured += f", {found.pixels:.2%}"
    return Check(name=name, limit=limit, found=measured, status=Outcome.PASS if good else Outcome.FAIL)


def precision_check(backend: str, found: Realised) -> Check | None:
    """PASS where every layer computes in the type that its graph asks for; None where the backend does not tell."""
    told = [layer for layer in found.layers if layer.wanted is not None]
    if not told:
        return None
    name, limit = f"precision {backend}", f"each of {len(told)} layers in the type that its graph asks for"
    fallen = found.fallbacks()
    if not fallen:
        kinds = Counter(layer.compute for layer in told)
        said = ", ".join(f"{count} in {kind}" for kind, count in kinds.most_common())
        return Check(name=name, limit=limit, found=said, status=Outcome.PASS)
    changes = Counter((layer.wanted, layer.compute) for layer in fallen)
    said = ", ".join(f"{count} in {compute} instead of {wanted}" for (wanted, compute), count in changes.most_common())
    names = ", ".join(layer.name for layer in fallen[:NAMED]) + (", …" if len(fallen) > NAMED else "")
    return Check(name=name, limit=limit, found=f"{said} ({names})", status=Outcome.FAIL)


def classes_check(name: str, found: AgreementRow, share: float) -> Check:
    """PASS where at least `share` of the pixels of a class map have the class that the reference gives them."""
    good = found.pixels is not None and found.pixels >= share
    return Check(
        name=name,
        limit=f"{share:.2%} of pixels agree",
        found="equal" if found.exact else "not measured" if found.pixels is None else f"{found.pixels:.3%}",
        status=Outcome.PASS if good else Outcome.FAIL,
    )


def served_check(name: str, found: AgreementRow, limits: LimitSettings) -> Check:
    """Of a graph that takes raw images: the classes of its maps, or the pixels of its pictures as a stage's values."""
    if found.pixels is not None:
        return classes_check(name, found, limits.io_agreement)
    return parity_check(name, found, limits.convert_sqnr_db, None)


def row_limits(
    row: Row, limits: LimitSettings, trained: bool, *, compressed: bool = False, seconds: float | None = None
) -> list[Check | Tested]:
    """The limits of one measured engine, to be settled together with all others of a verdict.

    The quality of a network with random weights is not judged. A compressed network is another one, whose pixels need
    not agree with the baseline's: its metric is judged alone. `seconds` is what one block of all rows took.
    """
    if row.status is not Status.OK:
        # An engine whose runtime is not here shows nothing, neither good nor bad.
        status = Outcome.INCONCLUSIVE if row.status is Status.NOT_RUN else Outcome.FAIL
        runs = Check(name=f"{row.name}: runs", limit="ok", found=row.reason or "", status=status)
        return [runs, *(_strict_checks(row, limits) if row.realised else [])]
    found: list[Check | Tested] = [*_agreement_checks(row, limits, trained, compressed)]
    if trained and row.quality is not None:
        judged = [quality for quality in (row.quality, *row.more) if quality.judged]
        found += [quality_limit(row.name, one, limits.margin(smaller=one.smaller)) for one in judged]
        if limits.worst_class_drop is not None:
            found += [parts_limit(row.name, one, limits.worst_class_drop) for one in judged if not one.smaller]
        # Of what has no limit nothing is said.
        if not compressed and "ssim" in row.likeness:
            found.append(likeness_limit(row.name, "ssim", row.likeness["ssim"], limits.ssim))
    if limits.min_speedup is not None:
        found.append(speedup_limit(row, limits.min_speedup, seconds))
    return [*found, *_strict_checks(row, limits)]


def row_checks(row: Row, limits: LimitSettings, trained: bool, *, compressed: bool = False) -> list[Check]:
    """The checks of one engine by itself, corrected for their number alone; limits as in `row_limits`."""
    return settle(row_limits(row, limits, trained, compressed=compressed))


def _strict_checks(row: Row, limits: LimitSettings) -> list[Check]:
    """A failure where a layer is in another precision than was asked for, and that is not wanted."""
    if not limits.strict or (row.realised and not row.off_precision):
        return []
    off = ", ".join(f"{count} in {kind}" for kind, count in row.off_precision.items())
    return [
        Check(
            name=f"{row.name}: precision",
            limit=f"every layer in {row.precision.value}",
            found=off or "the runtime names no layer",
            status=Outcome.FAIL,
        )
    ]


def _agreement_checks(row: Row, limits: LimitSettings, trained: bool, compressed: bool) -> list[Check]:
    """Outputs that are numbers, and enough pixels with the baseline's class, over all images that were measured."""
    found = row.agreement
    if found is None:
        return []
    if not found.finite:
        status, said = Outcome.FAIL, "NaN or infinity"
        return [Check(name=f"{row.name}: outputs", limit="finite numbers", found=said, status=status)]
    if not trained or compressed or found.pixels is None:
        return []
    return [
        Check(
            name=f"{row.name}: agreement",
            limit=f"{limits.agreement:.2%} of pixels agree",
            found=f"{found.pixels:.2%} on {found.samples} images",
            status=Outcome.PASS if found.pixels >= limits.agreement else Outcome.FAIL,
        )
    ]


def passes(row: Row, limits: LimitSettings, trained: bool, *, compressed: bool = False) -> bool:
    """Whether an engine was measured and fails none of its limits."""
    checks = row_checks(row, limits, trained, compressed=compressed)
    return row.status is Status.OK and all(check.status is not Outcome.FAIL for check in checks)


def verdict(
    parity: Iterable[Check], rows: Sequence[Row], limits: LimitSettings, trained: bool, *, compressed: bool = False
) -> Verdict:
    """All checks of a build, decided together, and what they add up to. `rows[0]` is the baseline."""
    found: list[Check | Tested] = [check.model_copy(update={"origin": "build"}) for check in parity]
    seconds = block_seconds(rows)
    for row in rows[1:]:
        found += row_limits(row, limits, trained, compressed=compressed, seconds=seconds)
    return Verdict.of(settle(found))
