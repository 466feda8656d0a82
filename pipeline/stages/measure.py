"""Stage `measure`: engines against the baseline, in one run: accuracy, agreement, latency, memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.accuracy import Compared, compare, likeness, quality
from visiondeploy.benchmarks.activity import ActivityWatch
from visiondeploy.benchmarks.gpus import GpuWatch
from visiondeploy.benchmarks.report.measured import Activity, Noise
from visiondeploy.benchmarks.report.schema import AgreementRow, Environment, GpuLoad, Row
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import EnvironmentMismatch, VisionDeployError
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import require
from visiondeploy.pipeline.backends.table import backend_of
from visiondeploy.pipeline.files import sha256_file
from visiondeploy.pipeline.stages.timing import Timings, add_memory, cores_of, timed_apart, timed_here
from visiondeploy.pipeline.surprises import surprises
from visiondeploy.types import Array, Precision, Realised, Sample, Session, Split, Status, Task

# 1: paired blocks against eager fp32
# 2: denormals are left as they are; the machine is kept with the rows
# 3: OpenVINO is compiled for the shapes that it is fed, and its outputs are bound
# 4: an engine that cannot run here has its layers as they were built
# 5: engines have processes of their own, the baseline a second turn in each block, warm-up ends where there is no drift
VERSION = 5
TOOLS = ("numpy", "scipy", "pillow")


@dataclass(frozen=True, slots=True)
class Contender:
    """An engine to be measured, with what its compilation found and what its row is to say besides."""

    name: str
    model: str
    backend: str
    precision: Precision
    folder: Path
    size_bytes: int
    parameters: int
    realised: Realised
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """The rows, and how the machine was meanwhile: its GPUs, its noise, what else it did, the cores of the engines.

    `scores` is what metrics are made of: rows of statistics (n, …) by row's name; `samples` are the names of the n
    samples, in their order.
    """

    rows: list[Row]
    gpus: tuple[GpuLoad, ...]
    noise: Noise | None
    activity: Activity | None
    cores: tuple[int, ...]
    scores: Mapping[str, Array] = field(default_factory=dict)
    samples: tuple[str, ...] = ()

    def seen_on(self, machine: Environment) -> Environment:
        """The machine as it was while these were measured."""
        return machine.model_copy(update={"gpus": self.gpus, "activity": self.activity, "affinity": self.cores})


def measure(
    contenders: Sequence[Contender],
    spec: NetworkSpec,
    split: Split,
    settings: BenchSettings,
    threads: int,
    report: Callable[[int, int, str], None],
) -> Measurement:
    """One row for each contender, the first of which is the baseline.

    An engine that does not load becomes a row with status "failed" and its reason, one whose runtime is not here or
    that was built for another machine a row with status "not-run"; the others are measured all the same, and one
    whose memory alone cannot be measured has a note that says why. Raises where the baseline itself fails.
    """
    task = task_of(spec)
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        failed: dict[str, VisionDeployError] = {}
        for contender in contenders:
            try:
                sessions[contender.name] = stack.enter_context(_load(contender, threads))
            except VisionDeployError as error:
                if contender is contenders[0]:
                    raise
                failed[contender.name] = error
        baseline = contenders[0].name
        candidates = {name: session for name, session in sessions.items() if name != baseline}
        compared = compare(
            sessions[baseline],
            candidates,
            task,
            split,
            settings.images,
            progress=lambda done, total: report(done, total, "images: accuracy and agreement"),
        )
        feeds = task.preprocess([split[0]])
        loaded = [contender for contender in contenders if contender.name in sessions]
        with GpuWatch() as gpus, ActivityWatch() as activity:
            if settings.latency.isolate:
                stack.close()
                timings = timed_apart(loaded, feeds, settings, threads, report)
            else:
                timings = timed_here(sessions, loaded, feeds, settings, threads, report)
    add_memory(timings, loaded, feeds, settings, threads, report)
    rows = [
        _failed_row(contender, failed[contender.name])
        if contender.name in failed
        else _row(contender, compared, baseline, task, timings, isolated=settings.latency.isolate)
        for contender in contenders
    ]
    return Measurement(
        rows,
        gpus.loads,
        timings.latency[baseline].noise,
        activity.activity,
        cores_of(settings.latency, threads),
        {baseline: compared.reference, **compared.scores},
        compared.names,
    )


def predictions(
    contenders: Sequence[Contender], spec: NetworkSpec, samples: Sequence[Sample], threads: int
) -> list[list[tuple[str, Any]]]:
    """For each sample its columns of a contact sheet: image, truth, then each contender that loads."""
    task = task_of(spec)
    rows: list[list[tuple[str, Any]]] = [list(zip(task.shown, (s.image, task.truth(s)), strict=True)) for s in samples]
    for contender in contenders:
        try:
            session = _load(contender, threads)
        except VisionDeployError:
            continue  # its row in the report says why
        with session:
            for row, sample in zip(rows, samples, strict=True):
                row.append((contender.name, task.picture(sample, session.infer(task.preprocess([sample])))))
    return rows


def _load(contender: Contender, threads: int) -> Session:
    backend = backend_of(contender.backend)
    require(backend, contender.precision)
    return backend.load(contender.folder, threads)


def _row(
    contender: Contender,
    compared: Compared,
    baseline: str,
    task: Task,
    timings: Timings,
    *,
    isolated: bool,
) -> Row:
    name, is_baseline = contender.name, contender.name == baseline
    latency, memory = timings.latency.get(name), timings.memory.get(name)
    reference = compared.reference
    scores = reference if is_baseline else compared.scores[contender.name]
    measured = tuple(quality(metric, reference, scores) for metric in task.metrics)
    return Row(
        name=contender.name,
        model=contender.model,
        backend=contender.backend,
        precision=contender.precision,
        status=Status.OK if latency else Status.FAILED,
        reason=None if latency else f"its latency was not measured: {timings.failed[name]}",
        digest=_digest(contender.folder),
        realised=contender.realised.counts(),
        stored=contender.realised.stored,
        providers=dict(Counter(layer.provider for layer in contender.realised.layers)),
        parameters=contender.parameters,
        size_bytes=contender.size_bytes,
        peak_rss_bytes=memory if isinstance(memory, int) else None,
        quality=measured[0] if measured else None,
        more=measured[1:],
        likeness={}
        if is_baseline
        else {name: likeness(values) for name, values in compared.likeness[contender.name].items()},
        agreement=AgreementRow(pixels=1.0, exact=True, samples=len(reference), max_abs=0.0, mean_abs=0.0)
        if is_baseline
        else AgreementRow.of(compared.agreements[contender.name]),
        latency_ms=latency.as_latency().model_copy(update={"isolated": isolated}) if latency else None,
        speedup=latency.as_speedup() if latency else None,
        scenarios=timings.scenarios.get(name, ()),
        surprises=surprises(contender.precision, contender.realised.layers, contender.realised.stored),
        notes=(*contender.notes, *_notes(memory, timings.parts.get(name, {}))),
    )


def _digest(folder: Path) -> str:
    """SHA-256 over the names and digests of all files of an engine."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _notes(memory: int | VisionDeployError | None, parts: Mapping[str, float]) -> tuple[str, ...]:
    said = [f"peak memory was not measured: {memory}"] if isinstance(memory, VisionDeployError) else []
    if parts:
        said.append("on the device, median: " + ", ".join(f"{name} {ms:.3g} ms" for name, ms in parts.items()))
    return tuple(said)


def _failed_row(contender: Contender, error: VisionDeployError) -> Row:
    """Nothing measured. The layers of an engine that is in order and only cannot run here are as they were built."""
    row = Row(
        name=contender.name,
        model=contender.model,
        backend=contender.backend,
        precision=contender.precision,
        status=Status.NOT_RUN if isinstance(error, EnvironmentMismatch) else Status.FAILED,
        reason=str(error),
        size_bytes=contender.size_bytes,
        parameters=contender.parameters,
    )
    if row.status is Status.FAILED:
        return row
    built = contender.realised
    return row.model_copy(
        update={
            "realised": built.counts(),
            "stored": built.stored,
            "surprises": surprises(contender.precision, built.layers, built.stored),
            "notes": contender.notes,
        }
    )
