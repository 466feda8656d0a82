"""Why an engine gives something else than the network it was made of: what goes in, or the first layer that parts.

Asked when a limit on its outputs is broken. Three questions, in this order: do its outputs come right when images are
normalised otherwise; where does it part from the graph that it was compiled from; where does that part from the network
in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from visiondeploy.benchmarks.accuracy import chosen
from visiondeploy.benchmarks.report.schema import AgreementRow, Check
from visiondeploy.errors import VisionDeployError
from visiondeploy.models.spec import InputSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.comparison import FP32, compare
from visiondeploy.pipeline.differences import Comparison, decibels, said
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.opening import BARE, MODEL, Place, dataset_of, find_place
from visiondeploy.pipeline.stages.parity import parity
from visiondeploy.pipeline.stages.sample import Feeds
from visiondeploy.types import Array, Outcome, Session, TensorSpec

Change = Callable[[Array], Array]

IMAGES = 2
"""Images of the validation split that are looked at: a fault of an engine shows on each."""

COMPILED_DB = 20.0
"""Below this an engine's layer is another than that of its graph; sound ones have 30 dB and more."""

QUANTISED_DB = 10.0
"""Below this a layer of a quantised graph is broken, not coarse."""

RIGHT_DB = 15.0
"""An engine whose outputs reach this with another normalisation has that one."""

BETTER_DB = 6.0

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0 … 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0 … 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "−1 … 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""How people normalise images: mean and standard deviation of each channel of pixels in 0 … 1."""


def diagnose(row: str, folder: Path, threads: int, events: Events) -> Check | None:
    """A check that has failed and says where an engine in a build goes wrong; None where nothing is found.

    What cannot be looked at (no runtime here, a file that was changed, no data) finds nothing, and is told.
    """
    try:
        place = find_place(folder, None)
        place.verify()
        return _normalisation(row, place, threads) or _layers(row, place, threads, events)
    except VisionDeployError as error:
        events.tell(f"{row}: where it goes wrong could not be looked at: {error}")
        return None


def _normalisation(row: str, place: Place, threads: int) -> Check | None:
    """Whether the outputs are right when images go in otherwise."""
    build, spec, baseline = place.build, place.spec, place.build.record.baseline
    if baseline is None or spec.io != BARE or spec.graph is not None:
        return None
    task = task_of(spec)
    split = dataset_of(build).split(build.recipe.data.val)
    samples = Feeds(task, split, chosen(len(split), IMAGES))
    network = Place(build, baseline.folder, baseline)
    network.verify()
    with ExitStack() as stack:
        right = stack.enter_context(network.backend.load(network.folder, threads))
        engine = stack.enter_context(place.backend.load(place.folder, threads))
        now = AgreementRow.of(parity(right, engine, task, samples))
        tried = {
            how: AgreementRow.of(parity(right, _Fed(engine, task.inputs[0], change), task, samples))
            for how, change in normalisations(spec.input)
        }
    best = max(tried, key=lambda how: decibels(tried[how]))
    found = decibels(tried[best])
    if found < RIGHT_DB or found < decibels(now) + BETTER_DB:
        return None
    return Check(
        name=f"{row}: normalisation",
        limit="that of the network",
        found=f"wrong: its outputs have {_true(now)} to the baseline's, and {_true(tried[best])} once {best}",
        status=Outcome.FAIL,
        origin="suite",
    )


def _true(found: AgreementRow) -> str:
    return said(found).replace("-", "−")


def normalisations(spec: InputSpec) -> Iterator[tuple[str, Change]]:
    """What may have gone wrong with a normalised batch N×3×H×W, and what undoes it."""
    mean, std = _by_channel(spec.mean), _by_channel(spec.std)
    for name, values in NORMALISATIONS.items():
        middle, scale = (_by_channel(each) for each in values)
        if not (np.allclose(mean, middle) and np.allclose(std, scale)):
            yield f"images go in as {name}", partial(_as, before=(mean, std), after=(middle, scale))
        yield f"a second normalisation in it, to {name}, is undone", partial(_before, middle=middle, scale=scale)
    yield "images go in as BGR", _reversed


def _as(batch: Array, before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
    """Normalised otherwise."""
    found: Array = (batch * before[1] + before[0] - after[0]) / after[1]
    return found


def _before(batch: Array, middle: Array, scale: Array) -> Array:
    """What gives the batch when it is normalised so."""
    found: Array = batch * scale + middle
    return found


def _reversed(batch: Array) -> Array:
    return batch[:, ::-1]


def _by_channel(values: Sequence[float]) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(1, 3, 1, 1)


class _Fed:
    """An engine whose images are changed before they go in."""

    def __init__(self, session: Session, name: str, change: Change) -> None:
        self._session, self._name, self._change = session, name, change

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the engine."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the engine."""
        return self._session.outputs

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on the changed images."""
        image = feeds[self._name]
        return self._session.infer({**feeds, self._name: np.ascontiguousarray(self._change(image), dtype=image.dtype)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def _layers(row: str, place: Place, threads: int, events: Events) -> Check | None:
    """The first layer of the engine that parts from its graph, or of that graph that parts from single precision."""
    build, source = place.build, place.source
    io = "" if place.spec.io == BARE else f"-{place.spec.io}"
    for before, after, limit in (
        (source, place.name, COMPILED_DB),
        (f"{FP32}{io}", source, QUANTISED_DB),
    ):
        if before is None or after is None or before == after or f"{before}/{MODEL}" not in build.record.files:
            continue
        found = compare(build.folder / before, build.folder / after, None, IMAGES, limit, threads, events)
        if found.diverges:
            return Check(
                name=f"{row}: layers",
                limit=f"each within {limit:g} dB of {before}",
                found=_parts(found, after),
                status=Outcome.FAIL,
                origin="suite",
            )
    return None


def _parts(found: Comparison, after: str) -> str:
    """Where two part, with what the very first layer tells."""
    if found.first is None:
        return f"{after}: {found.conclusion}"
    at_once = found.first is found.layers[0]
    hint = "; it is the very first, so look at what goes in, its normalisation" if at_once else ""
    return f"{after} parts at layer {found.first.name} ({_true(found.first.agreement)}){hint}"
