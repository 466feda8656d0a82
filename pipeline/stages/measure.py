"""Stage `measure`: engines against the baseline, in one run: accuracy, agreement, latency, memory."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.accuracy import Compared, compare, likeness, quality
from visiondeploy.benchmarks.gpus import GpuWatch
from visiondeploy.benchmarks.latency import LatencyResult
from visiondeploy.benchmarks.latency import measure as measure_latency
from visiondeploy.benchmarks.memory import peak_rss
from visiondeploy.benchmarks.report.schema import AgreementRow, GpuLoad, Row
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import EnvironmentMismatch, VisionDeployError
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import require
from visiondeploy.pipeline.backends.table import backend_of
from visiondeploy.pipeline.surprises import surprises
from visiondeploy.types import Array, Precision, Realised, Sample, Session, Split, Status, Task, Timed

# 1: paired blocks against eager fp32
# 2: denormals are left as they are; the machine is kept with the rows
# 3: OpenVINO is compiled for the shapes that it is fed, and its outputs are bound
# 4: an engine that cannot run here has its layers as they were built
VERSION = 4
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
    """The rows, how the GPUs were meanwhile, and of what the metrics are: rows of statistics (n, …) by row's name.

    `samples` are the names of the n samples, in the order of those.
    """

    rows: list[Row]
    gpus: tuple[GpuLoad, ...]
    scores: Mapping[str, Array] = field(default_factory=dict)
    samples: tuple[str, ...] = ()


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
        with GpuWatch() as watch:
            latency = _latency(sessions, baseline, feeds, settings, report)
        parts = {name: dict(session.parts()) for name, session in sessions.items() if isinstance(session, Timed)}
    memory: dict[str, int | VisionDeployError] = {}
    for number, contender in enumerate(contenders):
        report(number, len(contenders), f"memory of {contender.name}")
        if contender.name in failed:
            continue
        try:
            memory[contender.name] = peak_rss(
                memory_command(contender, threads, feeds), timeout=settings.memory_timeout
            )
        except VisionDeployError as error:
            # What was measured before took minutes and stands.
            memory[contender.name] = error
    rows = [
        _failed_row(contender, failed[contender.name])
        if contender.name in failed
        else _row(
            contender,
            compared,
            baseline,
            task,
            latency[contender.name],
            memory[contender.name],
            parts.get(contender.name, {}),
        )
        for contender in contenders
    ]
    return Measurement(rows, watch.loads, {baseline: compared.reference, **compared.scores}, compared.names)


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


def memory_command(contender: Contender, threads: int, feeds: Mapping[str, Array]) -> list[str]:
    """A command that loads one engine in a process of its own and runs it on feeds of the same shapes."""
    shapes = json.dumps({name: (str(feed.dtype), feed.shape) for name, feed in feeds.items()})
    module = "visiondeploy.pipeline.stages.run_alone"
    # -P: the current folder is the user's, and a json.py in it must not become ours.
    return [sys.executable, "-P", "-m", module, contender.backend, str(contender.folder), str(threads), shapes]


def _latency(
    sessions: Mapping[str, Session],
    baseline: str,
    feeds: Mapping[str, Array],
    settings: BenchSettings,
    report: Callable[[int, int, str], None],
) -> dict[str, LatencyResult]:
    return measure_latency(
        {name: partial(session.infer, feeds) for name, session in sessions.items()},
        baseline,
        settings.latency,
        progress=lambda done, total: report(done, total, "blocks: latency, baseline and engines in turns"),
    )


def _row(
    contender: Contender,
    compared: Compared,
    baseline: str,
    task: Task,
    latency: LatencyResult,
    memory: int | VisionDeployError,
    parts: Mapping[str, float],
) -> Row:
    is_baseline = contender.name == baseline
    reference = compared.reference
    scores = reference if is_baseline else compared.scores[contender.name]
    measured = tuple(quality(metric, reference, scores) for metric in task.metrics)
    return Row(
        name=contender.name,
        model=contender.model,
        backend=contender.backend,
        precision=contender.precision,
        status=Status.OK,
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
        latency_ms=latency.as_latency(),
        speedup=latency.as_speedup(),
        surprises=surprises(contender.precision, contender.realised.layers, contender.realised.stored),
        notes=(*contender.notes, *_notes(memory, parts)),
    )


def _notes(memory: int | VisionDeployError, parts: Mapping[str, float]) -> tuple[str, ...]:
    said = [] if isinstance(memory, int) else [f"peak memory was not measured: {memory}"]
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
