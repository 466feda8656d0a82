"""What a bundle is made of: one engine of a measured build, with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.benchmarks.report.schema import Report, Row
from visiondeploy.errors import GateFailed, InputError, UsageError, unknown_name
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.pipeline.backends.onnxruntime import WEIGHTS
from visiondeploy.pipeline.bundle.manifest import BundleVerdict
from visiondeploy.pipeline.folder import BuildRecord, Engine, read_build
from visiondeploy.pipeline.opening import MODEL, Place, open_build, place_in
from visiondeploy.types import Outcome

BUNDLED = ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx")
"""Backends whose engines are files that load without this project."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine of a build: its place, the ONNX stage that it was made from, its row in the report, the verdict."""

    place: Place
    engine: Engine
    source: str
    report: Report
    row: Row
    verdict: BundleVerdict

    @property
    def record(self) -> BuildRecord:
        """The build's record."""
        return self.place.build.record

    @property
    def spec(self) -> NetworkSpec:
        """What is known of the network, with the inputs and outputs that the engine has."""
        return self.place.spec

    @property
    def onnx_file(self) -> Path:
        """The ONNX file that the engine was made from."""
        return self.place.build.folder / self.source / MODEL

    def files_below(self, place: str) -> Iterable[tuple[str, str, str]]:
        """Of each file below a place of the build its name in the build, its name from there, and its digest."""
        for name, digest in sorted(self.record.files.items()):
            if name.startswith(f"{place}/"):
                yield name, name.removeprefix(f"{place}/"), digest


def subject_of(folder: Path, backend: str | None, *, force: bool) -> Subject:
    """The engine of a build that is to be bundled: `backend`'s, or else its fastest that holds its limits.

    The verdict is looked at before anything else. Raises `GateFailed` for one that is not PASS unless `force`d,
    `InputError` for a folder that is no build, `UsageError` for a build that was not measured or has no such engine,
    `IntegrityError` where a file of the engine or its source was changed.
    """
    build = open_build(folder)
    _, report = read_build(folder)
    until = build.record.until
    if report is None or not build.record.engines:
        raise UsageError(
            f"{folder} ends with stage '{until}' and was not measured, and a bundle says how good its engine is: run "
            "`deploy build`."
        )
    verdict = _gate(folder, report, force)
    engine = _chosen(build.record, folder, backend)
    place = place_in(build, engine.folder)
    source = place.source
    if source is None or source not in build.places:
        raise InputError(
            f"{folder} has no ONNX file that its engine of {engine.backend} was made from: build it again."
        )
    place.verify(f"{source}/")
    if any(name.endswith(WEIGHTS) for name in build.record.files if name.startswith((f"{source}/", f"{place.name}/"))):
        raise InputError(
            f"{place.title} has its weights beside the ONNX file, being over 2 GB, and a bundle holds files whose "
            "weights are in them: build a smaller network."
        )
    return Subject(place, engine, source, report, _row_of(engine, report), verdict)


def _gate(folder: Path, report: Report, force: bool) -> BundleVerdict:
    """The verdict of a report. Raises `GateFailed`, with the first check that fails, unless it is PASS or `force`d."""
    verdict = report.verdict
    if verdict.status is Outcome.PASS:
        return BundleVerdict(status=verdict.status)
    bad = [check for check in verdict.by_severity() if check.status is not Outcome.PASS]
    first = f"{bad[0].name}: expected {bad[0].limit}, found {bad[0].found}" if bad else "nothing was checked"
    if not force:
        raise GateFailed(
            f"the verdict of {folder} is {verdict.status} ({first}): build an engine that passes, or bundle it all the "
            "same with --force, which the manifest records."
        )
    return BundleVerdict(status=verdict.status, forced=True, first=first)


def _chosen(record: BuildRecord, folder: Path, backend: str | None) -> Engine:
    engines = {engine.backend: engine for engine in record.engines}
    if backend is not None and backend not in engines:
        raise unknown_name(f"engine of {folder} for backend", backend, engines)
    # With --force there may be none that holds its limits.
    wanted = backend or record.engine or next((name for name in BUNDLED if name in engines), next(iter(engines)))
    if wanted not in BUNDLED:
        raise UsageError(
            f"engines of {wanted} load with this project's own code alone, and a bundle is for servers: build one for "
            f"{', '.join(BUNDLED)}, and choose it with --backend."
        )
    return engines[wanted]


def _row_of(engine: Engine, report: Report) -> Row:
    """The row of an engine; the baseline's where the engine is that. Raises `InputError`."""
    for row in (*report.rows[1:], report.rows[0]):
        if (row.backend, row.precision, row.size_bytes) == (engine.backend, engine.precision, engine.size_bytes):
            return row
    raise InputError(f"the report has no row for the engine of {engine.backend}: build it again.")
