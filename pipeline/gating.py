"""A report judged by a suite: `deploy gate`, and the end of `deploy bench --gate`."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from visiondeploy.benchmarks.case import Case
from visiondeploy.benchmarks.judging import LAYERS, verdict
from visiondeploy.benchmarks.reference import Reference
from visiondeploy.benchmarks.report.schema import Report, Verdict
from visiondeploy.benchmarks.samples import FILE, LARGEST, Samples
from visiondeploy.benchmarks.suite import Suite
from visiondeploy.errors import InputError, IntegrityError, UsageError
from visiondeploy.models.reading import read_bytes
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.diagnosing import diagnose
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.files import resource_error, write_atomic
from visiondeploy.pipeline.folder import BUILD, LARGEST_REPORT, read_build
from visiondeploy.types import Metric, Outcome

REPORT = "report.json"
REFERENCES = Path("benchmarks") / "references"

_OF_OUTPUTS = ("agreement", "sqnr", "outputs", "worst-class")
"""Quantities that fail where an engine computes something else; so do metrics and measures of likeness."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A suite, and the file of its reference; None for the one of its name in `benchmarks/references/`.

    With `fresh` there is no reference yet, or it is to be replaced: what compares with one is not judged.
    """

    suite: Suite
    reference: Path | None = None
    fresh: bool = False

    @property
    def file(self) -> Path:
        """Where the reference is, or will be."""
        return self.reference or REFERENCES / f"{self.suite.name}.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """A report with what is known besides: the network, its validation data, statistics by image.

    `engines` are the folders of the engines by row's name, where they are at hand.
    """

    report: Report
    spec: NetworkSpec | None
    validation: str | None
    samples: Samples | None = None
    engines: Mapping[str, Path] = field(default_factory=dict)
    threads: int = 1


def open_report(path: Path | None) -> Measured:
    """A report from its file, from a folder of `deploy bench`, or from a build; the newest bench where it is None.

    Raises `InputError` where there is none or it is something else, `IntegrityError` where the statistics beside it are
    those of another report.
    """
    place = _newest() if path is None else path
    if place.name == BUILD or (place / BUILD).is_file():
        return _of_build(place.parent if place.name == BUILD else place)
    file = place / REPORT if place.is_dir() else place
    report = Report.from_json(_read(file, LARGEST_REPORT, "a report"), str(file))
    beside = file.with_name(FILE)
    if not beside.is_file():
        return Measured(report, None, None, threads=report.environment.threads)
    samples = Samples.from_bytes(_read(beside, LARGEST, "samples"), str(beside))
    spec = _spec_of(samples, beside)
    _check_samples(report, samples, task_of(spec).metrics, beside)
    return Measured(report, spec, samples.validation, samples, threads=report.environment.threads)


def _newest() -> Path:
    found = sorted(Path("builds").glob(f"bench-*/{REPORT}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError("there is no report in builds/bench-*: measure first with `deploy bench`, or name a report.")
    return found[-1]


def _of_build(folder: Path) -> Measured:
    record, report = read_build(folder)
    if report is None:
        raise InputError(f"{folder} ends with stage '{record.until}' and was not measured: build it, or bench it.")
    engines = {(engine.backend, engine.precision): folder / engine.folder for engine in record.engines}
    rows = {row.name: engines.get((row.backend, row.precision)) for row in report.rows[1:]}
    places = {name: place for name, place in rows.items() if place is not None}
    return Measured(report, record.spec, record.validation, engines=places, threads=report.environment.threads)


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        return read_bytes(path, limit)
    except FileNotFoundError:
        raise InputError(f"there is no {path}, expected {what} of `deploy bench`: check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}, expected {what} of `deploy bench`.") from None


def _spec_of(samples: Samples, path: Path) -> NetworkSpec:
    try:
        return NetworkSpec.model_validate_json(samples.spec)
    except ValidationError:
        raise InputError(f"{path} describes a network that this visiondeploy does not know: bench again.") from None


def _check_samples(report: Report, samples: Samples, metrics: tuple[Metric, ...], path: Path) -> None:
    """Raise `IntegrityError` where the report's metric is not that of the statistics."""
    by_name = {metric.name: metric for metric in metrics}
    for row in report.rows:
        found = row.quality
        if found is None or row.name not in samples.rows or found.metric not in by_name:
            continue
        value = by_name[found.metric].value(samples.rows[row.name])
        if len(samples.names) != found.n or not math.isclose(value, found.value, rel_tol=1e-6, abs_tol=1e-9):
            raise IntegrityError(
                f"{path} is not of the report beside it: {found.metric} of {row.name} is {found.value:.6g} in the "
                f"report and {value:.6g} in its samples; bench again."
            )


def judge(measured: Measured, gate: Gate, events: Events) -> Report:
    """The report with the suite's verdict.

    Where an engine's outputs fail and it is at hand, it is compared with what it was made from, so that a check names
    the layer. Raises `UsageError` for a reference of other data or classes, `InputError` and `IntegrityError` for one
    that is damaged.
    """
    spec = measured.spec
    case = Case(
        report=measured.report,
        metrics={} if spec is None else {metric.name: metric for metric in task_of(spec).metrics},
        samples=measured.samples,
        trained=spec is None or spec.trained,
    )
    if gate.fresh:
        case = replace(case, no_reference="the reference is written anew")
    elif gate.suite.needs("reference"):
        case = _with_reference(case, measured, gate)
    found = verdict(gate.suite, case)
    suspects = _suspects(found, gate.suite)
    causes = [
        (LAYERS, check)
        for name, folder in measured.engines.items()
        if name in suspects and (check := diagnose(name, folder, measured.threads, events)) is not None
    ]
    if causes:
        found = verdict(gate.suite, case, causes)
    return measured.report.model_copy(update={"verdict": found})


def _suspects(found: Verdict, suite: Suite) -> frozenset[str]:
    """Rows whose outputs fail a limit."""
    from visiondeploy.benchmarks.suite import QUANTITIES

    outputs = {*_OF_OUTPUTS, *(limit.quantity for limit in suite.limits if limit.quantity not in QUANTITIES)}
    parts = (check.name.rpartition(": ") for check in found.checks if check.status is Outcome.FAIL)
    return frozenset(row for row, _, quantity in parts if quantity in outputs)


def _with_reference(case: Case, measured: Measured, gate: Gate) -> Case:
    file = gate.file
    if not file.exists():
        if gate.reference is not None:
            raise InputError(f"there is no reference {file}: write it with --update, or name another.")
        return case
    reference, samples = read_reference(file)
    if measured.spec is not None and measured.validation is not None:
        reference.check(measured.validation, measured.spec.kinds, str(file))
    return replace(case, reference=reference, reference_samples=samples)


def read_reference(path: Path) -> tuple[Reference, Samples]:
    """A reference and its statistics. Raises `InputError`, and `IntegrityError` where they do not belong together."""
    reference = Reference.from_json(_read(path, LARGEST_REPORT, "a reference"), str(path))
    beside = path.with_suffix(".safetensors")
    data = _read(beside, LARGEST, "the reference's samples")
    if hashlib.sha256(data).hexdigest() != reference.samples:
        raise IntegrityError(f"{beside} is not of the reference {path}: write both anew with --update.")
    return reference, Samples.from_bytes(data, str(beside))


def write_reference(measured: Measured, gate: Gate) -> Path:
    """Store what was measured as the suite's reference, with the statistics beside it; returns its file.

    Raises `UsageError` where the report has no statistics, or the target is something else; `ResourceError`.
    """
    path = gate.file
    if measured.samples is None or measured.spec is None:
        raise UsageError(
            "this report has no samples beside it, which a reference needs: measure with `deploy bench` and gate that."
        )
    if path.suffix != ".json":
        raise UsageError(f"a reference is a JSON file, found {path}: name it with .json.")
    if path.exists():
        try:
            Reference.from_json(_read(path, LARGEST_REPORT, "a reference"), str(path))
        except InputError as error:
            raise UsageError(f"{str(error).rstrip('.')}; it is not overwritten: name another.") from None
    kept = {name: rows for name, rows in measured.samples.rows.items() if not _is_base(measured.report, name)}
    samples = Samples(measured.samples.names, measured.samples.validation, measured.samples.spec, kept)
    data = samples.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    reference = Reference.of(measured.report, samples, digest, measured.spec.kinds, gate.suite.name, today)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise resource_error(error, path.parent, "name another with --reference") from error
    write_atomic(path.with_suffix(".safetensors"), data)
    write_atomic(path, reference.to_json())
    return path


def _is_base(report: Report, name: str) -> bool:
    return any(row.base for row in report.rows if row.name == name)
