"""`deploy compare`: two ONNX files or engines run side by side on real images, and the first layer where they part.

Compared are the inner tensors that both know by the same name, a few at a time. What is read cannot be fused away, so
that a runtime may compute it otherwise than in the engine as it runs: OpenVINO 2026.4 got symmetric int8 behind a
concat wrong, and right as soon as the concat was an output. The outputs are therefore compared of both as they run.

An int8 graph that was made of an equalised one (`calibration/equalise.py`) has tensors that are the network's divided
by a scale for each channel. The reference's are brought to the candidate's scales, as exact as a product. To run an
equalised reference instead would hide a fault of the equalisation, and cannot be had of an engine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visiondeploy.benchmarks.accuracy import chosen
from visiondeploy.benchmarks.report.schema import AgreementRow
from visiondeploy.calibration.ranges import parse_ranges
from visiondeploy.calibration.watching import side_by_side
from visiondeploy.errors import BackendUnavailable, InputError, UsageError
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.inside import Inner, Watchable
from visiondeploy.pipeline.differences import Comparison, Difference, TensorMeter
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.opening import MODEL, OpenBuild, Place, dataset_of, find_place
from visiondeploy.pipeline.stages.parity import parity
from visiondeploy.pipeline.stages.prepare import PREPARED
from visiondeploy.pipeline.stages.quantise import RANGES
from visiondeploy.pipeline.stages.sample import Feeds
from visiondeploy.types import Array, Session, Task, TensorSpec

FP32 = "onnx-fp32"
WEIGHTS = "network/weights.safetensors"
EXPOSED = (
    "tensors that are read are not fused away: each runtime may compute them otherwise than in the engine as it runs"
)


def compare(
    reference: Path,
    candidate: Path,
    stage: str | None,
    images: int | None,
    limit_db: float,
    threads: int | None,
    events: Events,
) -> Comparison:
    """Run both on `images` of the reference's validation split, spread evenly; what is None the recipe says.

    The paths lead to ONNX files or engines of builds, or with `stage` to builds that both have a stage of that name.
    Every file is checked against its digest before a runtime sees it, and memory is that of a few tensors. Raises
    `InputError` for a folder that is neither, `UsageError` for networks with other inputs or outputs, `IntegrityError`
    for a file that was changed, `BackendUnavailable` for an engine that cannot run here.
    """
    ours, theirs = find_place(reference, stage), find_place(candidate, stage)
    for place in (ours, theirs):
        place.verify()
    notes = _check_places(ours, theirs)
    recipe, task = ours.build.recipe, task_of(ours.spec)
    threads = threads or recipe.threads
    split = dataset_of(ours.build).split(recipe.data.val)
    samples = Feeds(task, split, chosen(len(split), images or recipe.limits.parity_images))

    events.start("compare")
    began = time.monotonic()
    outputs = _outputs(ours, theirs, task, samples, threads)
    walked = _walk(ours, theirs, samples, threads, events)
    events.end("compare", time.monotonic() - began, False, f"{len(walked.layers)} tensors, images: {len(samples)}")
    return Comparison(
        reference=ours.title,
        candidate=theirs.title,
        images=len(samples),
        limit_db=limit_db,
        limit_pixels=recipe.limits.agreement,
        layers=walked.layers,
        outputs=outputs,
        left_out=dict(walked.left_out),
        notes=(*notes, *walked.notes),
    )


def _check_places(ours: Place, theirs: Place) -> tuple[str, ...]:
    """Raise `UsageError` where two networks are not fed alike; a note where they are of other weights."""
    if ours.spec.input != theirs.spec.input:
        raise _different(f"{theirs.title} has another input size or normalisation")
    if ours.spec.io != theirs.spec.io:
        raise _different(f"{theirs.title} takes {theirs.spec.io}, and {ours.title} takes {ours.spec.io}")
    if ours.spec.classes != theirs.spec.classes:
        raise _different(f"{theirs.title} knows other classes")
    one, other = ours.build, theirs.build
    if _weights(one) != _weights(other):
        return (f"{one.folder.name} and {other.folder.name} were built from networks with other weights",)
    return ()


def _weights(build: OpenBuild) -> str | None:
    """The digest of the file that the weights of a build's network came from."""
    graph = build.record.spec.graph
    return build.record.files.get(WEIGHTS) if graph is None else graph.sha256


def _different(how: str) -> UsageError:
    return UsageError(f"different networks cannot be compared: {how}; choose builds of one network.")


def _outputs(ours: Place, theirs: Place, task: Task, samples: Feeds, threads: int) -> AgreementRow:
    """How the outputs agree, with nothing exposed."""
    with ExitStack() as stack:
        before, after = (stack.enter_context(_load(place, threads)) for place in (ours, theirs))
        for kind in ("inputs", "outputs"):
            _check_alike(kind.removesuffix("s"), ours, getattr(before, kind), theirs, getattr(after, kind))
        try:
            return AgreementRow.of(parity(before, after, task, samples))
        except InputError:
            if all(np.isfinite(value).all() for feeds in samples for value in before.infer(feeds).values()):
                raise
            # The reference's own are no numbers. Its layers show since when.
            return AgreementRow(finite=False, samples=len(samples))


def _load(place: Place, threads: int) -> Session:
    try:
        return place.backend.load(place.folder, threads)
    except BackendUnavailable as error:
        engine, source = place.engine, place.source
        on_gpu = engine is not None and any(layer.provider == "cuda" for layer in engine.layers)
        needs = "needs a CUDA device and " if on_gpu else ""
        instead = f"; compare {place.build.folder / source}, which it was made from" if engine and source else ""
        raise BackendUnavailable(f"{place.title} {needs}cannot run here: {str(error).rstrip('.')}{instead}.") from None


def _check_alike(
    kind: str, ours: Place, before: Sequence[TensorSpec], theirs: Place, after: Sequence[TensorSpec]
) -> None:
    """Raise `UsageError` for tensors of other names, types or sizes; a free axis is like any other."""
    by_name = {spec.name: spec for spec in after}
    for spec in before:
        other = by_name.pop(spec.name, None)
        if other is None:
            raise _different(f"{theirs.title} has no {kind} '{spec.name}', as {ours.title} has")
        fits = len(spec.shape) == len(other.shape) and all(
            a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(spec.shape, other.shape, strict=True)
        )
        if spec.dtype != other.dtype or not fits:
            raise _different(
                f"{kind} '{spec.name}' is {_said(spec)} in {ours.title} and {_said(other)} in {theirs.title}"
            )
    if by_name:
        raise _different(f"{ours.title} has no {kind} '{next(iter(by_name))}', as {theirs.title} has")


def _said(spec: TensorSpec) -> str:
    return f"{_by(spec.shape)} {spec.dtype}"


@dataclass(frozen=True, slots=True)
class _Walked:
    """The tensors that both have, in the reference's order, and why some of them are not compared."""

    layers: tuple[Difference, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _walk(ours: Place, theirs: Place, samples: Feeds, threads: int, events: Events) -> _Walked:
    """Compare the inner tensors, a few at a time."""
    one, other = ours.backend, theirs.backend
    if not isinstance(one, Watchable) or not isinstance(other, Watchable):
        silent = (ours if not isinstance(one, Watchable) else theirs).title
        return _Walked(notes=(f"{silent} does not give its inner tensors: the outputs alone are compared",))
    factors, levelled = _factors(ours, theirs)
    known = {inner.tensor for inner in other.inner(theirs.folder)}
    common = [inner for inner in one.inner(ours.folder) if inner.tensor in known]
    left_out = {
        inner.tensor: "made from a tensor whose channels have other scales"
        for inner in common
        if (inner.tensor not in factors and any(inner.tensor.startswith(f"{tensor}/") for tensor in factors))
        or any(f"{inner.tensor}/".startswith(f"{tensor}/") for tensor in levelled)
    }
    common = [inner for inner in common if inner.tensor not in left_out]
    watched = (one.watch(ours.folder, threads), other.watch(theirs.folder, threads))
    pairs = [(inner.tensor, inner.tensor) for inner in common]
    meters = [TensorMeter() for _ in common]
    for done, (pair, expected, given) in enumerate(side_by_side(*watched, pairs, samples), start=1):
        inner = common[pair]
        if expected.shape != given.shape:
            left_out[inner.tensor] = f"shaped {_by(expected.shape)} in the one and {_by(given.shape)} in the other"
        else:
            meters[pair].update(_scaled(expected, factors.get(inner.tensor)), given)
        events.progress(done, len(pairs) * len(samples), f"values of tensors: {inner.layer}")
    layers = tuple(
        _difference(inner, meter) for inner, meter in zip(common, meters, strict=True) if inner.tensor not in left_out
    )
    scaled = f"{len(factors)} tensors of {ours.title} are brought to the channel scales of {theirs.title}, as int8 was "
    return _Walked(layers, left_out, (EXPOSED, f"{scaled}made of an equalised graph") if factors else (EXPOSED,))


def _difference(inner: Inner, meter: TensorMeter) -> Difference:
    agreement, cosine = meter.result()
    return Difference(name=inner.layer, kind=inner.kind, tensor=inner.tensor, agreement=agreement, cosine=cosine)


def _factors(ours: Place, theirs: Place) -> tuple[dict[str, Array], frozenset[str]]:
    """By what channels of the reference's tensors are multiplied to be of the candidate's scales: C float64 each.

    Also the tensors of which something else is taken away in the one than in the other.
    """
    before, after = _scales(ours), _scales(theirs)
    factors: dict[str, Array] = {}
    levelled = set()
    for tensor in (*before, *(tensor for tensor in after if tensor not in before)):
        own, other = (np.asarray(scales.get(tensor, 1.0)) for scales in (before, after))
        if max(own.ndim, other.ndim) > 1:
            levelled |= set() if np.array_equal(own, other) else {tensor}
            continue
        # v/s is multiplied by s/t to be v/t.
        factor = own / other
        if np.any(factor != 1):
            factors[tensor] = factor
    return factors, frozenset(levelled)


def _scales(place: Place) -> Mapping[str, Array]:
    """By what the channels of its tensors are divided; empty where it was not made of an equalised graph."""
    ranges = f"{place.network}/{RANGES}"
    if ranges not in place.build.record.files:
        return {}
    import onnx

    from visiondeploy.calibration.equalise import scaled_tensors

    source = next(name for name in (PREPARED, FP32) if f"{name}/{MODEL}" in place.build.record.files)
    place.verify(ranges, f"{source}/{MODEL}")
    path = place.build.folder / ranges
    scales = parse_ranges(path.read_bytes(), str(path)).scales
    return scaled_tensors(onnx.load(place.build.folder / source / MODEL), scales) if scales else {}


def _scaled(value: Array, factor: Array | None) -> Array:
    """A tensor N×C×… with its channels multiplied."""
    if factor is None:
        return value
    result: Array = value * factor.reshape(1, -1, *[1] * (value.ndim - 2))
    return result


def _by(shape: Sequence[int | str]) -> str:
    return "×".join(map(str, shape))
