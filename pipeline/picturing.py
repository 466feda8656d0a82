"""An engine as what makes pictures of images of any size: of their classes, or in tiles of their own pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from visiondeploy.errors import UsageError
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.tiles import SHARE, Tiling, tiled, to_bytes
from visiondeploy.pipeline.tone import is_local, shrunk, toned
from visiondeploy.types import Array, Image, Sample, Session, Task

WHOLE = 2 << 20
"""Pixels of the largest picture that an engine whose size is free sees whole: style networks take about a kilobyte
for each. Not a matter of the memory that happens to be free, or the picture would be another one on another day."""

TILE = 1024
"""Height and width of the tiles of a larger one."""

MULTIPLE = 16
"""Engines whose size is free are fed sizes that can be halved four times."""

Progress = Callable[[int, int], None]
"""Told of parts that are done, and of how many."""


class Output(StrEnum):
    """What is made of a network's classes: their numbers, their colours, or those over the photograph."""

    CLASSES = "classes"
    COLOURS = "colours"
    OVERLAY = "overlay"


class Maker(Protocol):
    """Makes pictures of images."""

    @property
    def at_once(self) -> int:
        """How many images it takes at a time."""
        ...

    def make(self, images: Sequence[Image], progress: Progress) -> list[Array]:
        """A picture of each H×W×3 uint8 image: H×W×3 uint8 RGB, or H×W uint8 class numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What pictures are to look like, where a network is told: one of its styles by its number, or a painting."""

    style: int = 0
    painting: Image | None = None


AS_TAUGHT = Look()
"""As the network's first style, or its only one."""


def maker_of(
    session: Session,
    spec: NetworkSpec,
    output: Output | None,
    tile: int | None,
    batch: int | None,
    look: Look = AS_TAUGHT,
) -> Maker:
    """What makes pictures with a session of a network.

    Raises `UsageError` for what the network has no use for: an `output` where there are no classes, a `tile` where
    the image is seen as a whole, another tile or batch than the engine takes.
    """
    task = task_of(spec)
    shape = next(tensor.shape for tensor in session.inputs if tensor.name == task.inputs[0])
    runner = _Runner(session, task, shape[0], _batch(shape[0], batch))
    if not task.tiled:
        if tile is not None:
            raise UsageError(
                f"--tile is for networks that paint a picture anew, and {spec.task} sees an image as a whole: leave it "
                "away."
            )
        return ClassMaker(runner, output or Output.COLOURS)
    if output is not None:
        raise UsageError(f"--output is for networks with classes, and {spec.task} paints a picture: leave it away.")
    height, width = shape[1:3] if spec.channels_last else shape[2:4]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if size is not None and tile is not None and size != (tile, tile):
        raise UsageError(
            f"--tile {tile} does not fit: the engine takes {size[0]}×{size[1]} alone. Leave it away, or build with "
            "export.dynamic_size."
        )
    return TileMaker(runner, spec, size, tile, look)


@dataclass(frozen=True, slots=True)
class _Runner:
    """A session with its task, which runs `batch` images at once; `axis` is the first of its input."""

    session: Session
    task: Task
    axis: int | str
    batch: int

    def run(self, task: Task, samples: Sequence[Sample]) -> list[Mapping[str, Array]]:
        """The outputs of each of at most `batch` samples, with a batch axis of one."""
        missing = self.axis - len(samples) if isinstance(self.axis, int) else 0
        fed = [*samples, *[samples[-1]] * missing]
        outputs = self.session.infer(task.preprocess(fed))
        return [{name: array[number : number + 1] for name, array in outputs.items()} for number in range(len(samples))]


class ClassMaker:
    """Pictures of classes. The network sees the image at its own size; the classes come out at the image's."""

    def __init__(self, runner: _Runner, output: Output) -> None:
        self._runner, self._output = runner, output
        self.at_once = runner.batch

    def make(self, images: Sequence[Image], progress: Progress) -> list[Array]:
        """A picture of each image, run at once."""
        samples = [Sample("image", image, None) for image in images]
        found = self._runner.run(self._runner.task, samples)
        return [self._picture(sample, outputs) for sample, outputs in zip(samples, found, strict=True)]

    def _picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Array:
        task = self._runner.task
        if self._output is Output.CLASSES:
            if (classes := task.classes(sample, outputs)) is None:
                raise UsageError(f"--output classes is for networks with classes, and {task.name} has none.")
            return classes
        colours = task.picture(sample, outputs)
        if self._output is Output.COLOURS:
            return colours
        # In integers: half of each, where float32 would take eight times the picture's memory.
        return ((sample.image.astype(np.uint16) + colours + 1) >> 1).astype(np.uint8)


class TileMaker:
    """Pictures of the input's own pixels, whole where the engine's size is free, else in tiles.

    The tone of several tiles is that of the whole image, where the network looks farther than its surroundings.
    """

    at_once = 1

    def __init__(
        self, runner: _Runner, spec: NetworkSpec, size: tuple[int, int] | None, tile: int | None, look: Look
    ) -> None:
        self._runner, self._spec, self._size, self._tile, self._look = runner, spec, size, tile, look

    def make(self, images: Sequence[Image], progress: Progress) -> list[Array]:
        """A picture of each image, one after the other; `progress` is told of its tiles."""
        return [self._picture(image, progress) for image in images]

    def _picture(self, image: Image, progress: Progress) -> Image:
        height, width = self._tile_size(*image.shape[:2])
        task = task_of(
            self._spec.model_copy(
                update={"input": self._spec.input.model_copy(update={"height": height, "width": width})}
            )
        )

        def transform(tiles: Array) -> Array:
            samples = [Sample("tile", tile, self._look.painting, self._look.style) for tile in tiles]
            found = self._runner.run(task, samples)
            return np.stack([task.picture(sample, outputs) for sample, outputs in zip(samples, found, strict=True)])

        tiling = Tiling(height, width, min(height, width) // SHARE, self._runner.batch)
        picture = tiled(transform, image, tiling, progress)
        if image.shape[0] <= height and image.shape[1] <= width:
            return picture
        whole = shrunk(image, height, width)
        return picture if is_local(transform, whole) else toned(picture, to_bytes(transform(whole[None])[0]))

    def _tile_size(self, height: int, width: int) -> tuple[int, int]:
        """The size in which an image of this size is run: one tile of all of it, where that will do."""
        if self._size is not None:
            return self._size
        whole = self._tile is None and height * width <= WHOLE
        limit = max(height, width) if whole else self._tile or TILE
        return _multiple(min(height, limit)), _multiple(min(width, limit))


def _multiple(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE


def _batch(axis: int | str, wanted: int | None) -> int:
    """How many images are run at once by an engine with this first axis."""
    if not isinstance(axis, int):
        return wanted or 1
    if wanted not in {None, axis}:
        raise UsageError(f"--batch {wanted} does not fit: the engine takes {axis} at once. Leave it away.")
    return axis
