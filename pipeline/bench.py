"""`deploy bench`: engines of one network, from any number of builds, against the network itself in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.judging import pairing_notes
from visiondeploy.benchmarks.report.schema import Check, Report, Row, Verdict
from visiondeploy.benchmarks.samples import Samples
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.benchmarks.verdicts import Tested, block_seconds, settle
from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.asked import Asked, pooled
from visiondeploy.pipeline.bases import base_contenders, open_bases
from visiondeploy.pipeline.bench_files import check_reports, write_reports
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import BUILD, BuildRecord, Engine, check_place, verify
from visiondeploy.pipeline.gating import Gate, Measured, judge
from visiondeploy.pipeline.opening import OpenBuild, dataset_of, open_build
from visiondeploy.pipeline.plan import file_name
from visiondeploy.pipeline.profiling import with_profiles
from visiondeploy.pipeline.recipe import row_name
from visiondeploy.pipeline.stages import qat
from visiondeploy.pipeline.stages.adopt import reported
from visiondeploy.pipeline.stages.measure import Contender, measure, predictions
from visiondeploy.types import Dataset, Image, Precision, Realised

NOTHING_MORE = Asked()


@dataclass(frozen=True, slots=True)
class Benched:
    """The report, where it and the pictures lie, and what it was measured on."""

    report: Report
    folder: Path
    pictures: Path | None
    validation: str
    """The digest of the data that quality was measured on."""


def bench(
    folders: Sequence[Path],
    images: int | None,
    seconds: float | None,
    threads: int | None,
    out: Path | None,
    events: Events,
    asked: Asked = NOTHING_MORE,
    command: str | None = None,
    *,
    bases: Sequence[Path] = (),
    gate_by: Gate | None = None,
) -> Benched:
    """Measure the engines of the builds in `folders`, or of all in `builds/` that share the newest one's network.

    What is None is taken from the first build's recipe: `images` for quality, `seconds` for latency, `threads`, and
    what else `asked` leaves open; `command` is what the page says that it was made by. Engines of the builds in
    `bases`, of the commit before, are measured along. With `gate_by` the verdict is a suite's.

    Every file is checked against its digest before a runtime sees it. Raises `UsageError` where the builds are
    not of one network and one data set, and where `out` holds something else than an earlier report;
    `InputError` where there is no build, `IntegrityError` where a file was changed, `ResourceError` where the
    report cannot be written; and what `merged` raises where an earlier run is to be added.
    """
    builds, notes = _chosen(folders)
    first = builds[0]
    before = open_bases(bases, first)
    recipe = first.recipe
    settings, threads = asked.of(_settings(recipe.bench, images, seconds)), threads or recipe.threads
    earlier = asked.earlier(settings, threads)
    for build in (*builds, *before):
        home = build.record.baseline.folder if build.record.baseline else "network"
        verify(build.folder, build.record, ("network/", f"{home}/", "engines/"))
    dataset = dataset_of(first)
    split = dataset.split(recipe.data.val)
    entries = _entries(builds)
    named_bases = base_contenders(before, {contender.name for contender, _ in entries}, _contender)
    contenders = [*(contender for contender, _ in entries), *named_bases]
    folder = out or first.folder.parent / f"bench-{recipe.name}-{file_name(dataset.name)}"
    check_place(folder)
    check_reports(folder)

    events.start("bench")
    began = time.monotonic()
    found = measure(contenders, first.record.spec, split, settings, threads, events.progress)
    rows = found.rows[: len(entries)]
    base_rows = [row.model_copy(update={"base": True}) for row in found.rows[len(entries) :]]
    if asked.profile:
        feeds = task_of(first.record.spec).preprocess([split[0]])
        rows = with_profiles(entries, rows, feeds, threads, events.progress)
    events.end("bench", time.monotonic() - began, False, f"{len(found.rows)} rows")
    trained = first.record.spec.trained
    report = Report(
        environment=found.seen_on(capture(threads)),
        rows=(*rows, *_left_out(builds, rows), *base_rows),
        verdict=Verdict.of(_parity(builds)),
        notes=(*notes, *pairing_notes([*rows, *base_rows]), *gate.notes(first.record.spec, trained)),
        noise=found.noise,
        file=reported(first.record.spec),
    )
    report = pooled(earlier, report)
    samples = Samples(found.samples, first.record.validation, first.record.spec.model_dump_json(), found.scores)
    if gate_by is None:
        checks = [*report.verdict.checks, *_checks(entries, report.rows[: len(rows)], trained)]
        report = report.model_copy(update={"verdict": Verdict.of(checks)})
    else:
        engines = {contender.name: contender.folder for contender, _ in entries[1:]}
        measured = Measured(report, first.record.spec, first.record.validation, samples, engines, threads)
        report = judge(measured, gate_by, events)
    legend = list(zip(dataset.classes, dataset.palette, strict=True))
    shown = _shown(contenders[: len(entries)], first, dataset, settings, threads)
    title = f"{recipe.name} on {dataset.name}"
    sheet = write_reports(folder, report, samples, shown, legend, title, command)
    return Benched(report, folder, sheet, first.record.validation)


def _settings(settings: BenchSettings, images: int | None, seconds: float | None) -> BenchSettings:
    """A recipe's settings with what the call names."""
    if images is not None:
        settings = settings.model_copy(update={"images": images})
    if seconds is not None:
        latency = settings.latency.model_copy(update={"seconds": seconds})
        settings = settings.model_copy(update={"latency": latency})
    return settings


def _chosen(folders: Sequence[Path]) -> tuple[list[OpenBuild], list[str]]:
    """The builds to be measured, and a note on those in `builds/` that are left out."""
    if folders:
        # Under two spellings it would be measured twice.
        builds = list({folder.resolve(): open_build(folder) for folder in folders}.values())
        for build in builds[1:]:
            difference = _difference(builds[0].record, build.record)
            if difference:
                raise UsageError(
                    f"{build.folder} cannot be compared with {builds[0].folder}: it has {difference}; "
                    "bench them one after the other."
                )
        return _with_engines(builds), []
    root = Path("builds")
    found = sorted(root.glob(f"*/{BUILD}"), key=lambda path: path.stat().st_mtime, reverse=True)
    notes: list[str] = []
    builds = []
    for path in found:
        try:
            builds.append(open_build(path.parent))
        except InputError as error:
            notes.append(f"left out: {error}")
    builds = [build for build in builds if build.record.engines]
    if not builds:
        raise InputError("there is no build in builds/: make one first, for example `deploy build --model unet`.")
    kept = [build for build in builds if _difference(builds[0].record, build.record) is None]
    notes += [
        f"left out: {build.folder} has {_difference(builds[0].record, build.record)}"
        for build in builds
        if build not in kept
    ]
    return sorted(kept, key=lambda build: build.folder.name), notes


def _with_engines(builds: list[OpenBuild]) -> list[OpenBuild]:
    for build in builds:
        if not build.record.engines:
            raise UsageError(f"{build.folder} ends with stage '{build.record.until}' and has no engine: build it.")
    return builds


def _difference(one: BuildRecord, other: BuildRecord) -> str | None:
    """Why two builds cannot stand in one table; None where they can."""
    if one.network != other.network:
        return "other weights"
    if one.spec.input != other.spec.input:
        return "another input size"
    if one.spec.io != other.spec.io:
        return f"other inputs and outputs ({other.spec.io}, not {one.spec.io})"
    if one.validation != other.validation:
        return "other validation data"
    return None


def _parity(builds: Sequence[OpenBuild]) -> list[Check]:
    """What each build found of its stages; with several builds a check names its own."""
    several = len(builds) > 1
    return [
        check.model_copy(
            update={"origin": "build", "name": f"{build.folder.name}: {check.name}" if several else check.name}
        )
        for build in builds
        for check in build.record.parity
    ]


def _checks(entries: Sequence[tuple[Contender, OpenBuild]], rows: Sequence[Row], trained: bool) -> list[Check]:
    """Every engine against the limits of the build that it comes from, decided together."""
    found: list[Check | Tested] = []
    seconds = block_seconds(rows)
    for (contender, build), row in zip(entries[1:], rows[1:], strict=True):
        compressed = contender.parameters != build.record.parameters
        found += gate.row_limits(row, build.recipe.limits, trained, compressed=compressed, seconds=seconds)
    return settle(found)


def _entries(builds: Sequence[OpenBuild]) -> list[tuple[Contender, OpenBuild]]:
    """The baseline from the first build's network, then every engine, each with the build that it comes from."""
    first = builds[0]
    baseline = first.record.baseline
    if baseline is None:
        raise UsageError(f"{first.folder} was built only up to '{first.record.until}': build it whole.")
    entries = [(_contender(first, baseline), first)]
    for build in builds:
        for engine in build.record.engines:
            if (engine.backend, engine.precision) == (baseline.backend, baseline.precision):
                continue
            contender = _contender(build, engine)
            taken = {other.name for other, _ in entries}
            names = (contender.name, *(f"{place}:{engine.backend}" for place in (build.folder.name, build.folder)))
            free = next(name for name in names if name not in taken)
            entries.append((replace(contender, name=free), build))
    return entries


def _left_out(builds: Sequence[OpenBuild], rows: Sequence[Row]) -> list[Row]:
    """What a build's backend "auto" left out, unless another build brought an engine of that name."""
    taken = {row.name for row in rows}
    found = {row.name: row for build in builds for row in build.record.left_out}
    return [row for name, row in found.items() if name not in taken]


def _contender(build: OpenBuild, engine: Engine) -> Contender:
    folder = build.folder / engine.folder
    baseline = build.record.baseline
    label = "" if baseline is not None and engine.backend == baseline.backend else build.recipe.compress.label
    return Contender(
        name=row_name(build.recipe.name, label, engine.precision, engine.backend),
        model=build.recipe.name,
        backend=engine.backend,
        precision=engine.precision,
        folder=folder,
        size_bytes=engine.size_bytes,
        parameters=build.record.parameters if engine.parameters is None else engine.parameters,
        realised=Realised(engine.layers, engine.stored),
        notes=qat.notes(build.recipe.qat) if engine.precision is Precision.INT8 else (),
    )


def _shown(
    contenders: Sequence[Contender], build: OpenBuild, dataset: Dataset, settings: BenchSettings, threads: int
) -> list[list[tuple[str, Image]]]:
    """Input, truth, baseline and each engine side by side, for images spread over the split."""
    split = dataset.split(build.recipe.data.val)
    count = min(settings.pictures, len(split))
    if count == 0 or not build.record.spec.paints:
        return []
    samples = [split[round((number + 0.5) * len(split) / count - 0.5)] for number in range(count)]
    return predictions(contenders, build.record.spec, samples, threads)
