"""Builds opened for use: the recipe and the data set behind one, and where in it graphs and engines lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from visiondeploy.errors import BackendUnavailable, InputError, UsageError, unknown_name
from visiondeploy.models.spec import Io, NetworkSpec
from visiondeploy.pipeline.backends.base import Backend, require
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.folder import BUILD, BuildRecord, Engine, read_build, verify
from visiondeploy.pipeline.painting import dataset_of as with_paintings
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.types import Dataset, Precision

MODEL = "model.onnx"
"""The file that makes a folder an ONNX stage, and what runs it."""
RUNS_ONNX = "onnxruntime"

BARE: Io = "float32"
"""The inputs and outputs of a network that nothing is wrapped around."""

_DEEPEST = 2
"""How far below its build a place lies: "engines/openvino"."""


@dataclass(frozen=True, slots=True)
class OpenBuild:
    """A build with its recipe."""

    folder: Path
    record: BuildRecord
    recipe: Recipe

    @property
    def places(self) -> tuple[str, ...]:
        """The folders in it that hold an ONNX file or an engine, in the order in which they were made."""
        engines = [engine.folder for engine in self.record.engines]
        files = [name.removesuffix(f"/{MODEL}") for name in self.record.files if name.endswith(f"/{MODEL}")]
        return (*(name for name in files if name not in engines), *engines)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a build that holds an ONNX file or, with `engine`, an engine. `name` is its path in the build."""

    build: OpenBuild
    name: str
    engine: Engine | None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.build.folder.name}/{self.name}"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.build.folder / self.name

    @property
    def spec(self) -> NetworkSpec:
        """What is known of the network, with the inputs and outputs that this form of it has."""
        spec = self.build.record.spec
        if self.engine is not None:
            return spec
        return spec.model_copy(update={"io": spec.io if self.name.endswith(f"-{spec.io}") else BARE})

    @property
    def backend(self) -> Backend:
        """What runs it here. Raises `BackendUnavailable`."""
        name = self.engine.backend if self.engine else RUNS_ONNX
        if name not in BACKENDS:
            raise BackendUnavailable(f"{self.title} is an engine of {name}, which this visiondeploy does not have.")
        backend = BACKENDS[name]
        require(backend, self.engine.precision if self.engine else Precision.FP32)
        return backend

    @property
    def network(self) -> str | None:
        """The ONNX stage with the network alone that is in it; None where that depends on a backend that is unknown."""
        if self.engine is None:
            return self.name.removesuffix(f"-{self.spec.io}")
        graph = self.build.record.spec.graph
        if not self.engine.precision.quantised or (graph is not None and graph.precision is self.engine.precision):
            return f"onnx-{self.engine.precision}"
        backend = BACKENDS.get(self.engine.backend)
        return None if backend is None else f"onnx-{self.engine.precision}-{Plan(self.build.recipe).scheme(backend)}"

    @property
    def source(self) -> str | None:
        """The ONNX stage that it is or was made from; None as of `network`."""
        network, io = self.network, self.spec.io
        return network if network is None or io == BARE else f"{network}-{io}"

    def verify(self, *others: str) -> None:
        """Check the digest of every file in it, and of `others` of the build. Raises `IntegrityError`."""
        verify(self.build.folder, self.build.record, (f"{self.name}/", *others))


def open_build(folder: Path) -> OpenBuild:
    """A build. Raises `InputError` where the folder is none, or has a recipe that cannot be read."""
    record, _ = read_build(folder)
    try:
        return OpenBuild(folder, record, Recipe.model_validate(record.recipe))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(
            f"{folder / BUILD} has a recipe that this visiondeploy does not read ({where}): build it again."
        ) from None


def dataset_of(build: OpenBuild) -> Dataset:
    """The data set of a build, unchanged since. Raises `InputError`."""
    data = build.recipe.data
    place = Path(data.dataset.partition(":")[2])
    if not place.is_absolute() and not place.exists():
        raise InputError(
            f"{build.folder} was built on {data.dataset}, a path from where the build was made, and there is no "
            f"{place} in {Path.cwd()}: run the command in the folder that the build was made in."
        )
    dataset = with_paintings(build.recipe, build.record.spec.style)
    if dataset.digest(data.val) != build.record.validation:
        raise InputError(
            f"the split '{data.val}' of {data.dataset} has changed since {build.folder} was built: build again."
        )
    return dataset


def place_in(build: OpenBuild, name: str) -> Place:
    """The place of that name. Raises `UsageError` for one that the build does not have."""
    if name not in build.places:
        raise unknown_name("stage", name, build.places)
    return Place(build, name, next((engine for engine in build.record.engines if engine.folder == name), None))


def find_places(path: Path, stage: str | None) -> tuple[OpenBuild, tuple[Place, ...]]:
    """A build and the place in it that `path` leads to or that is called `stage`; all its places where neither is.

    Raises `InputError` where it leads to neither, `UsageError` where `stage` is unknown, or one too many.
    """
    root = path.resolve()
    here = next((top for top in (root, *list(root.parents)[:_DEEPEST]) if (top / BUILD).is_file()), root)
    build = open_build(path if here == root else here)
    if here == root:
        if not build.places:
            until = build.record.until
            raise UsageError(
                f"{path} ends with stage '{until}', and has neither an ONNX file nor an engine: build it, or take its "
                "network by its folder, with `deploy predict` alone."
            )
        return build, tuple(place_in(build, name) for name in ([stage] if stage else build.places))
    name = root.relative_to(here).as_posix()
    if stage is not None:
        raise UsageError(f"--stage {stage} is for folders of builds, and {path} is in one: leave it away.")
    if name not in build.places:
        raise InputError(
            f"{path} holds neither an ONNX file nor an engine that {here / BUILD} knows of: choose one of "
            f"{', '.join(build.places)}."
        )
    return build, (place_in(build, name),)


def find_place(path: Path, stage: str | None) -> Place:
    """The one place that is meant. Raises as `find_places`, and `UsageError` where a build has several."""
    build, places = find_places(path, stage)
    if len(places) > 1:
        raise UsageError(
            f"{path} is a whole build: name a folder in it, or add --stage with one of {', '.join(build.places)}."
        )
    return places[0]
