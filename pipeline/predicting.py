"""`deploy predict`: an engine of a build on images that people give, each picture at its image's own size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from visiondeploy.errors import InputError, UsageError, unknown_name
from visiondeploy.models.checkpoint import DESCRIPTION, read_spec
from visiondeploy.models.data.styled import read_painting
from visiondeploy.models.shipped import shipped_networks
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.table import NETWORKS
from visiondeploy.models.tasks.style import STYLE
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.pytorch import load_any_size
from visiondeploy.pipeline.backends.table import REFERENCES
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import BUILD, read_build, verify
from visiondeploy.pipeline.opening import RUNS_ONNX, Place, find_places
from visiondeploy.pipeline.picture_files import Errand, Existing, Kind, errands
from visiondeploy.pipeline.picturing import AS_TAUGHT, Look, Maker, Output, maker_of
from visiondeploy.pipeline.recipe import default_threads
from visiondeploy.types import Image, Precision, Session

# 1: build, engine, backend, precision, threads, pictures: input, output, height, width, milliseconds, error
SCHEMA = "visiondeploy.prediction/1"

RUNS_CHECKPOINTS = REFERENCES["network"]
"""What runs a network that nothing was made of yet."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of one image. `height` and `width` are its own; `milliseconds` go from its pixels to the picture's,
    for images that ran at once the mean. Where it could not be read there is an `error` and nothing else."""

    input: str
    output: str | None = None
    height: int | None = None
    width: int | None = None
    milliseconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was done, and by which engine. `backend` is what ran it."""

    build: str
    engine: str
    backend: str
    precision: str | None
    threads: int
    pictures: tuple[Predicted, ...]

    def to_json(self) -> str:
        """The same as JSON text, with a final newline. In ASCII: names of files may hold bytes that are no UTF-8."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    def complain(self) -> None:
        """Raise `InputError` where an image could not be read."""
        broken = [picture.error for picture in self.pictures if picture.error is not None]
        if broken and len(self.pictures) == 1:
            raise InputError(broken[0])
        if broken:
            raise InputError(f"{len(broken)} of {len(self.pictures)} images were left out; the first: {broken[0]}")


@dataclass(frozen=True, slots=True)
class Runnable:
    """Something that makes outputs: what it is, what is known of its network, and how it is checked and loaded."""

    build: str
    name: str
    spec: NetworkSpec
    backend: str
    precision: str | None
    threads: int
    verify: Callable[[], None]
    load: Callable[[int], Session]

    @classmethod
    def of(cls, place: Place) -> Self:
        """An engine, or an ONNX file, of a build."""
        backend = place.backend
        return cls(
            build=str(place.build.folder),
            name=place.name,
            spec=place.spec,
            backend=backend.name,
            precision=place.engine.precision if place.engine else None,
            threads=place.build.recipe.threads,
            verify=place.verify,
            load=lambda threads: backend.load(place.folder, threads),
        )

    @classmethod
    def checkpoint(cls, name: str, folder: Path) -> Self:
        """A network as it was trained, in PyTorch, for images of any size."""
        return cls(
            build=name,
            name=name,
            spec=read_spec(folder),
            backend=RUNS_CHECKPOINTS,
            precision=Precision.FP32,
            threads=default_threads(),
            verify=lambda: _verify_recorded(folder),
            load=lambda threads: load_any_size(folder, threads),
        )


def runnable_at(build: Path, backend: str | None) -> Runnable:
    """An engine as of `engine_at`; the network of a checkpoint's folder; or one that comes with the project, by name.

    A folder goes before a name. Raises `UsageError` for a name that is neither, and for a `backend` that a network
    alone does not run in.
    """
    known = shipped_networks()
    if (build / DESCRIPTION).is_file():
        name, folder = str(build), build
    elif build.exists() or len(build.parts) > 1:
        return Runnable.of(engine_at(build, backend))
    elif str(build) in known:
        name, folder = str(build), known[str(build)]
    else:
        raise unknown_name("build's folder, or network that comes with the project,", str(build), known)
    if backend not in {None, RUNS_CHECKPOINTS}:
        raise UsageError(
            f"{name} is a network that was trained, and runs in {RUNS_CHECKPOINTS}: leave --backend away, or build it "
            f"with --checkpoint {folder}."
        )
    return Runnable.checkpoint(name, folder)


def _verify_recorded(folder: Path) -> None:
    """Check the files of a checkpoint where a build has recorded their digests. Raises `IntegrityError`."""
    home = folder.resolve().parent
    if (home / BUILD).is_file():
        verify(home, read_build(home)[0], (f"{folder.resolve().name}/",))


def look_of(spec: NetworkSpec, style: str | None) -> Look:
    """What `style` asks of a network: the name of one of its styles, or the picture of a painting.

    Raises `UsageError` for a network that is not told its style, and for one that is told and `style` None;
    `InputError` for a picture that cannot be read.
    """
    known = NETWORKS.get(spec.architecture)
    second = None if known is None else known.second
    if spec.style is None or second is None:
        if style is not None:
            raise UsageError(
                f"--style is for networks that are told a style, and {spec.architecture} is not: leave it away."
            )
        return AS_TAUGHT
    if second == STYLE:
        if style is None:
            raise UsageError(f"{spec.architecture} paints like any picture: name one with --style.")
        return Look(painting=read_painting(Path(style), spec.style.size).image)
    if style is None:
        return AS_TAUGHT
    if style not in spec.style.names:
        raise unknown_name("style of the network", style, spec.style.names)
    return Look(style=spec.style.names.index(style))


def predict(
    build: Path,
    source: str,
    target: str,
    *,
    output: Output | None,
    backend: str | None,
    tile: int | None,
    batch: int | None,
    threads: int | None,
    existing: Existing,
    events: Events,
    style: str | None = None,
) -> Predictions:
    """Make the picture of an image, of all in a folder, or of the one on stdin ("-"), as files or on stdout ("-").

    Every file of the engine is checked against its digest before a runtime sees it. An image that cannot be read is
    told to `events` and left out; `Predictions.complain` raises for it. Raises as `runnable_at` and `errands`, and
    `UsageError` for an `output` or a `tile` that the network has no use for, `IntegrityError` where a file of the
    engine was changed, `ResourceError` where a picture cannot be written.
    """
    runs = runnable_at(build, backend)
    found = errands(source, target, kind=_kind(runs.spec, output), existing=existing)
    look = look_of(runs.spec, style)
    runs.verify()
    threads = threads or runs.threads
    events.start("predict")
    began = time.monotonic()
    done: list[Predicted] = []
    with runs.load(threads) as session:
        maker = maker_of(session, runs.spec, output, tile, batch, look)
        for group in _groups(found, maker.at_once):
            done += _make(group, maker, runs.spec, events, len(done), len(found))
    made = sum(picture.output is not None for picture in done)
    events.end("predict", time.monotonic() - began, False, f"{made} picture{'' if made == 1 else 's'}")
    return Predictions(
        build=runs.build,
        engine=runs.name,
        backend=runs.backend,
        precision=runs.precision,
        threads=threads,
        pictures=tuple(done),
    )


def engine_at(path: Path, backend: str | None) -> Place:
    """The engine that is meant: the one at `path`, or of the whole build there `backend`'s, else the fastest.

    An ONNX file of a build will do, too. The baseline counts as the build's engine of PyTorch. Raises `InputError`
    where there is neither, `UsageError` for a backend that the build has no engine of.
    """
    build, places = find_places(path, None)
    if path.resolve() != build.folder.resolve():
        (place,) = places
        runs = place.engine.backend if place.engine else RUNS_ONNX
        if backend not in {None, runs}:
            raise UsageError(f"{place.title} runs on {runs}, not on {backend}: leave --backend away.")
        return place
    engines = {place.engine.backend: place for place in places if place.engine is not None}
    if not engines:
        until = build.record.until
        raise UsageError(f"{path} ends with stage '{until}' and has no engine: build it, or name an ONNX stage in it.")
    if (baseline := build.record.baseline) is not None:
        engines.setdefault(baseline.backend, Place(build, baseline.folder, baseline))
    # Of a build that was not measured, or whose engines hold no limit, none is known as the fastest.
    wanted = backend or build.record.engine or next(iter(engines))
    if wanted not in engines:
        raise unknown_name(f"engine of {path} for backend", wanted, engines)
    return engines[wanted]


def _kind(spec: NetworkSpec, output: Output | None) -> Kind:
    if task_of(spec).tiled or output is Output.OVERLAY:
        return "picture"
    return "numbers" if output is Output.CLASSES else "colours"


def _groups(found: Sequence[Errand], size: int) -> Iterator[Sequence[Errand]]:
    for first in range(0, len(found), size):
        yield found[first : first + size]


def _make(
    group: Sequence[Errand], maker: Maker, spec: NetworkSpec, events: Events, before: int, total: int
) -> list[Predicted]:
    """Read, run at once and write some pictures; `before` of `total` are done."""

    def progress(done: int, parts: int) -> None:
        if total == 1:
            events.progress(done, parts, f"tiles of {group[0].name}")
        else:
            events.progress(before, total, f"images, tile {done} of {parts}" if parts > 1 else "images")

    broken: dict[Errand, str] = {}
    images: dict[Errand, Image] = {}
    for errand in group:
        try:
            images[errand] = errand.read()
        except InputError as error:
            broken[errand] = str(error)
            if total > 1:
                events.warn(str(error))
    began = time.perf_counter()
    pictures = dict(zip(images, maker.make(list(images.values()), progress), strict=True)) if images else {}
    each = (time.perf_counter() - began) * 1000 / max(1, len(images))
    for errand, picture in pictures.items():
        errand.write(picture, spec.palette if picture.ndim == 2 else ())
    events.progress(before + len(group), total, "images")
    return [
        Predicted(
            input=errand.name,
            output=str(errand.target) if errand.target else "stdout",
            height=images[errand].shape[0],
            width=images[errand].shape[1],
            milliseconds=each,
        )
        if errand in images
        else Predicted(errand.name, error=broken[errand])
        for errand in group
    ]
