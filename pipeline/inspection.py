"""`deploy inspect`: the layers of a build's ONNX files and engines, and what they add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.inside import Inspectable, LayerDetail, Shapes
from visiondeploy.pipeline.backends.onnx_inside import graph_layers
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.folder import Engine
from visiondeploy.pipeline.opening import MODEL, Place, find_places
from visiondeploy.types import Precision, Sample

# 1: build, stages: name, input, backend, precision, layers, totals, by_kind, by_type, notes
SCHEMA = "visiondeploy.inspection/1"

NOT_SAID = "not said"
"""The type of layers of which no type is known: in an ONNX file of all that are no products."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over layers. None where one of them is not known: a sum of the others would be taken for all."""

    layers: int
    parameters: int | None
    weight_bytes: int | None
    macs: int | None


@dataclass(frozen=True, slots=True)
class StageInspection:
    """The layers of one ONNX file or engine. `backend` and `precision` are those of an engine, else None.

    `input` are the shapes that it is fed for one image, which all others follow from.
    """

    name: str
    input: dict[str, tuple[int, ...]]
    backend: str | None
    precision: Precision | None
    layers: tuple[LayerDetail, ...]
    totals: Totals
    by_kind: dict[str, Totals]
    by_type: dict[str, Totals]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found of a build."""

    build: str
    stages: tuple[StageInspection, ...]

    def to_json(self) -> str:
        """The same as JSON text, with a final newline."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def inspect(path: Path, stage: str | None) -> Inspection:
    """The layers of the build at `path`: of its stage `stage`, or of all that hold an ONNX file or an engine.

    Every file is checked against its digest before it is read. Raises `InputError` for a folder that is no build,
    `UsageError` for a stage that it does not have, `IntegrityError` for a file that was changed.
    """
    build, places = find_places(path, stage)
    return Inspection(build.record.name, tuple(map(_inspect, places)))


def _shapes(place: Place) -> Shapes:
    """The shapes that it is fed for one image."""
    size = place.spec.input
    blank = Sample("blank", np.zeros((size.height, size.width, 3), dtype=np.uint8), None)
    return {name: feed.shape for name, feed in task_of(place.spec).preprocess([blank]).items()}


def _inspect(place: Place) -> StageInspection:
    place.verify()
    shapes = _shapes(place)
    notes: tuple[str, ...] = ()
    if place.engine is None:
        layers = graph_layers(place.folder / MODEL, shapes)
    else:
        layers, notes = _engine_layers(place, place.engine, shapes)
    return StageInspection(
        name=place.name,
        input=dict(shapes),
        backend=place.engine.backend if place.engine else None,
        precision=place.engine.precision if place.engine else None,
        layers=layers,
        totals=_totals(layers),
        by_kind=_by(layers, lambda layer: layer.kind),
        by_type=_by(layers, lambda layer: layer.compute or NOT_SAID),
        notes=notes,
    )


def _engine_layers(place: Place, engine: Engine, shapes: Shapes) -> tuple[tuple[LayerDetail, ...], tuple[str, ...]]:
    """The layers of an engine, and what is to be said of them."""
    backend = BACKENDS.get(engine.backend)
    reason = f"{engine.backend} tells of no others"
    if backend is not None and isinstance(backend, Inspectable):
        unavailable = None if backend.reads_alone else backend.unavailable()
        if unavailable is None:
            found = backend.layers(place.folder, place.build.recipe.threads, shapes, engine.layers)
            if any(layer.macs is None for layer in found):
                found = _with_work(found, _source_layers(place, shapes))
            return found, _departures(found, engine)
        reason = unavailable
    return _recorded(place, engine, shapes), (f"the products as they were recorded when it was built: {reason}",)


def _departures(found: Iterable[LayerDetail], engine: Engine) -> tuple[str, ...]:
    """What is not as it was when the engine was built, perhaps on another machine."""
    here = Counter(layer.compute or NOT_SAID for layer in found if layer.macs != 0)
    before = Counter(layer.compute for layer in engine.layers)
    return () if here == before else (f"products here: {_said(here)}; when it was built: {_said(before)}",)


def _recorded(place: Place, engine: Engine, shapes: Shapes) -> tuple[LayerDetail, ...]:
    """The recorded layers, with what the ONNX file that the engine was made from says of nodes of their names."""
    known = _source_layers(place, shapes)
    return tuple(
        replace(
            known.get(layer.name, LayerDetail(layer.name, layer.kind)),
            kind=layer.kind,
            compute=layer.compute,
            provider=layer.provider,
        )
        for layer in engine.layers
    )


def _source_layers(place: Place, shapes: Shapes) -> dict[str, LayerDetail]:
    """The layers of the ONNX file that an engine was made from, by name; none where it is not in the build."""
    source = place.source
    if source is None or source not in place.build.places:
        return {}
    place.verify(f"{source}/")
    return {layer.name: layer for layer in graph_layers(place.build.folder / source / MODEL, shapes)}


def _with_work(layers: Iterable[LayerDetail], known: Mapping[str, LayerDetail]) -> tuple[LayerDetail, ...]:
    """Layers whose runtime does not tell of their work, with that of the graph's nodes that are in each."""

    if not known:
        return tuple(layers)
    found = []
    for layer in layers:
        nodes = [known[name] for name in (layer.name, *layer.fused) if name in known]
        work = _totals(nodes)
        found.append(replace(layer, parameters=work.parameters, weight_bytes=work.weight_bytes, macs=work.macs))
    return tuple(found)


def _by(layers: Iterable[LayerDetail], key: Callable[[LayerDetail], str]) -> dict[str, Totals]:
    """Totals of groups, the one with the most work first."""
    groups: dict[str, list[LayerDetail]] = {}
    for layer in layers:
        groups.setdefault(key(layer), []).append(layer)
    totals = {name: _totals(found) for name, found in groups.items()}
    return dict(sorted(totals.items(), key=lambda entry: (-(entry[1].macs or 0), -entry[1].layers, entry[0])))


def _totals(layers: Iterable[LayerDetail]) -> Totals:
    found = list(layers)

    def total(values: Iterable[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(found) else None

    return Totals(
        len(found),
        total(layer.parameters for layer in found),
        total(layer.weight_bytes for layer in found),
        total(layer.macs for layer in found),
    )


def _said(types: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in types.most_common()) or "none"
