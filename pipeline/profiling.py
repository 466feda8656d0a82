"""The time of each layer of engines that were measured, from their runtimes' own profilers.

Taken after the latency measurement and apart from it: a runtime that keeps times is slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from visiondeploy.benchmarks.report.measured import LayerTiming, shares
from visiondeploy.benchmarks.report.schema import Row
from visiondeploy.errors import VisionDeployError
from visiondeploy.pipeline.backends.inside import Profilable
from visiondeploy.pipeline.backends.onnx_inside import graph_layers
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.folder import Engine, verify
from visiondeploy.pipeline.opening import MODEL, OpenBuild, Place
from visiondeploy.pipeline.stages.measure import Contender
from visiondeploy.types import Array, Status

FEWEST, MOST = 5, 100
SECONDS = 5.0
"""Runs that a profile is made of: as many as take this long, within limits."""


def with_profiles(
    entries: Sequence[tuple[Contender, OpenBuild]],
    rows: Sequence[Row],
    feeds: Mapping[str, Array],
    threads: int,
    report: Callable[[int, int, str], None],
) -> list[Row]:
    """The rows of these contenders with profiles over `feeds`, one image; where there can be none a note says why.

    The caller has checked the digests of the engines. A row that was not measured stays as it is: it has its reason.
    """
    found = []
    for number, ((contender, build), row) in enumerate(zip(entries, rows, strict=True)):
        report(number, len(rows), f"layers of {contender.name}")
        found.append(row if row.status is not Status.OK else _profiled(contender, build, row, feeds, threads))
    return found


def _profiled(contender: Contender, build: OpenBuild, row: Row, feeds: Mapping[str, Array], threads: int) -> Row:
    backend = BACKENDS.get(contender.backend)
    if backend is None or not isinstance(backend, Profilable):
        return _without(row, f"backend {contender.backend} does not time layers")
    runs = runs_within(SECONDS, row.latency_ms.p50 if row.latency_ms is not None else None)
    try:
        layers = backend.profile(contender.folder, threads, feeds, runs)
        macs = _macs(contender, build, feeds)
    except VisionDeployError as error:
        # What was measured before took minutes and stands.
        return _without(row, str(error))
    timings = [
        LayerTiming(one.name, one.kind, one.compute, one.milliseconds, one.inserted, macs.get(one.name))
        for one in layers
    ]
    said = f"its layers were timed in {runs} runs of their own, after the latency measurement"
    return row.model_copy(update={"profile": shares(timings), "notes": (*row.notes, said)})


def _without(row: Row, reason: str) -> Row:
    return row.model_copy(update={"notes": (*row.notes, f"its layers were not timed: {reason}")})


def runs_within(seconds: float, milliseconds: float | None) -> int:
    """How many runs of so many milliseconds fit, between `FEWEST` and `MOST`."""
    return FEWEST if milliseconds is None else max(FEWEST, min(MOST, int(seconds * 1000 / milliseconds)))


def _macs(contender: Contender, build: OpenBuild, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Multiply-accumulates by layer, from the ONNX file that the engine was made from; none where that is not there.

    Of the baseline it is its export, unless that is of a network that was made smaller. Raises `IntegrityError`.
    """
    record = build.record
    known: list[Engine] = [*record.engines, *([record.baseline] if record.baseline is not None else [])]
    engine = next((one for one in known if build.folder / one.folder == contender.folder), None)
    if engine is None or (engine is record.baseline and any(one.parameters is not None for one in record.engines)):
        return {}
    source = Place(build, engine.folder, engine).source
    if source is None or source not in build.places:
        return {}
    verify(build.folder, record, (f"{source}/",))
    layers = graph_layers(build.folder / source / MODEL, {name: feed.shape for name, feed in feeds.items()})
    return {layer.name: layer.macs for layer in layers if layer.macs}
