"""The words that every room shares. Nothing here imports another module of ours, nor a heavy runtime.

Arrays are NumPy arrays. Images are H×W×3 uint8 RGB; network inputs are N×C×H×W float32 unless a
`TensorSpec` says otherwise; masks are H×W uint8, the value of a pixel is its class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Array = NDArray[Any]
Image = NDArray[np.uint8]


class Settings(BaseModel):
    """Base of every part of a recipe: frozen, typed, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""What every generator takes: torch's end at 2**63, and training multiplies the seed by a million."""


class Precision(StrEnum):
    """The precision that was asked for. What each layer really has is a `Realised`."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"

    @property
    def quantised(self) -> bool:
        """Whether values are codes of eight bits, with scales from calibration."""
        return self in {Precision.INT8, Precision.FP8}


class Status(StrEnum):
    """What became of one row of a report."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUN = "not-run"


class Ending(StrEnum):
    """What a graph that takes raw images computes behind its network.

    CLASSES: from logits N×classes×H×W the class of each pixel, N×H×W uint8; the first of those that are equal.
    PIXELS: from a picture N×3×H×W in 0…1 its pixels, N×H×W×3 uint8; what lies outside is cut off.
    """

    CLASSES = "classes"
    PIXELS = "pixels"


class Outcome(StrEnum):
    """The outcome of a verdict or of one of its checks."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, NumPy dtype name and shape of an input or output; a free axis is its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


FP32_AS_TF32 = ("fp32", "tf32")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an engine as its runtime executes it.

    `compute` is the type the arithmetic is done in ("fp32", "fp16", "bf16", "int8"), `wanted` the type that the
    graph asks for; None where the backend does not compare the two.
    """

    name: str
    kind: str
    compute: str
    provider: str
    wanted: str | None = None

    @property
    def fell_back(self) -> bool:
        """Whether it computes in another type than its graph asks for. TF32 is what one has allowed fp32 to become."""
        return self.wanted is not None and self.compute != self.wanted and (self.wanted, self.compute) != FP32_AS_TF32


@dataclass(frozen=True, slots=True)
class Realised:
    """What a runtime really does, for the layers that hold the work: convolutions and matrix products.

    `stored` counts the same layers by the type that their weights are kept in: half-precision weights
    may well be computed with in single precision.
    """

    layers: tuple[Layer, ...]
    stored: dict[str, int]

    def counts(self) -> dict[str, int]:
        """Layers by the type they compute in, the most frequent first."""
        return dict(Counter(layer.compute for layer in self.layers).most_common())

    def off(self, wanted: Precision) -> tuple[Layer, ...]:
        """The layers that do not compute in the precision that was asked for."""
        return tuple(layer for layer in self.layers if layer.compute != wanted.value)

    def fallbacks(self) -> tuple[Layer, ...]:
        """The layers that do not compute in the type that their graph asks for."""
        return tuple(layer for layer in self.layers if layer.fell_back)


class Session(Protocol):
    """A loaded engine. A context manager: leaving it frees the runtime's memory."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. The returned arrays belong to the caller; the feeds are not changed.

        Raises `UsageError` where the feeds are not arrays of the inputs' names, dtypes and shapes.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Timed(Protocol):
    """A session that also times the parts of a call on its own device."""

    def parts(self) -> Mapping[str, float]:
        """Milliseconds of each part, median of the last calls; empty before the first one."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its truth. `target` is None where a data set has images only.

    The truth is a mask, or for style transfer the painting that the image is to look like, which is number `style` of
    those that the network knows.
    """

    name: str
    image: Image
    target: Array | None
    style: int = 0


class Split(Protocol):
    """One split of a data set: a sequence of samples that can be read in any order, any number of times."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Dataset(Protocol):
    """A named data set with its classes. `digest` changes whenever a sample of the split would."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def ignore_index(self) -> int: ...

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]: ...

    @property
    def splits(self) -> tuple[str, ...]: ...

    def split(self, name: str) -> Split: ...

    def digest(self, split: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a candidate's outputs are from a reference's, over real samples.

    `sqnr_db` is 10·log10(Σ reference² / Σ (reference − candidate)²), infinite when they are equal;
    `pixels` is the share of pixels whose class agrees, None for tasks without classes. Where classes alone were
    compared the others are NaN: the distance of two class numbers means nothing.
    """

    max_abs: float
    mean_abs: float
    sqnr_db: float
    pixels: float | None
    samples: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of quality: a number from the rows of statistics of any samples (`Task.score`) taken together.

    Where `smaller` is better it is a loss, whose rise is judged relative to the baseline's; else a loss of the metric
    is judged in points, of 100. `parts` gives the same for what the metric is made of, None where there is nothing
    to be judged; `part` is what such a thing is ("class"). One that is not `judged` is told and has no limit.
    """

    name: str
    value: Callable[[Array], float]
    parts: Callable[[Array], dict[str, float | None]]
    part: str = "class"
    smaller: bool = False
    judged: bool = True

    @property
    def unit(self) -> str:
        """What a loss of it is counted in."""
        return "%" if self.smaller else "points"


class Watched(Protocol):
    """What training needs to know of a task to say how far a network has come."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the rows of statistics of `score` say; the first is what training is watched by."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs."""
        ...

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """Samples with images of any size to the network's feeds, one batch."""
        ...

    def score(self, outputs: Mapping[str, Array], samples: Sequence[Sample]) -> Array:
        """One row of sufficient statistics per sample (for mIoU its confusion matrix)."""
        ...

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        """The prediction of the first item as a picture."""
        ...

    def truth(self, sample: Sample) -> Image:
        """The truth as a picture."""
        ...


class Task(Watched, Protocol):
    """All that differs between tasks when an engine is judged, so that nothing else asks which task it is."""

    @property
    def name(self) -> str: ...

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with dtype and shape; the batch is free."""
        ...

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The outputs with dtype and shape; the batch is free."""
        ...

    @property
    def ending(self) -> Ending | None:
        """What follows the network in a graph that takes raw images; None where the graph is the bare network."""
        ...

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the bare network as this task has them: `ending` in NumPy, which defines it."""
        ...

    def values(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The outputs whose numbers have a distance that means something; class maps do not."""
        ...

    def moved(self, sample: Sample) -> Sample | None:
        """The sample as a camera sees it a moment later; None where how steady outputs are is no matter."""
        ...

    def score(
        self, outputs: Mapping[str, Array], samples: Sequence[Sample], moved: Mapping[str, Array] | None = None
    ) -> Array:
        """As of what is trained. `moved` are the outputs for `moved` of the samples.

        Without them nothing is said of how steady outputs are.
        """
        ...

    def likeness(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> dict[str, Array]:
        """How alike the outputs of two engines are to an eye, by the name of the measure: one number per sample."""
        ...

    def labels(self, outputs: Mapping[str, Array]) -> Array | None:
        """The class of each pixel, N×H×W, for tasks that have classes; else None."""
        ...

    def strata(self, sample: Sample) -> frozenset[str]:
        """What a sample shows that others may not, its classes; empty where nothing is known."""
        ...

    @property
    def tiled(self) -> bool:
        """Whether the output is a picture of the input's own pixels, which can be made in tiles at any size.

        If not, the network sees the image as a whole, at its own size.
        """
        ...

    def classes(self, sample: Sample, outputs: Mapping[str, Array]) -> Array | None:
        """The predicted class of each pixel of the first item, H×W uint8 at the sample's size; None without classes."""
        ...

    @property
    def shown(self) -> tuple[str, str]:
        """What people call an image and its truth."""
        ...
