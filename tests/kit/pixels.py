"""A task, a split and sessions of a few pixels, so that these tests need no network and no data set."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from visiondeploy.types import Array, Image, Metric, Sample, TensorSpec

CLASSES = ("road", "tree")


class PixelTask:
    """Segments by brightness; quality is pixel accuracy, from rows (right, pixels)."""

    name = "pixels"
    shown = ("input", "truth")
    inputs = ("image",)
    outputs = ("logits",)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("accuracy", self._value, lambda scores: {"road": self._value(scores), "tree": None}),)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        return {"image": np.stack([sample.image.transpose(2, 0, 1) for sample in samples]).astype(np.float32) / 255}

    def moved(self, sample: Sample) -> Sample | None:
        return None

    def score(
        self, outputs: Mapping[str, Array], samples: Sequence[Sample], moved: Mapping[str, Array] | None = None
    ) -> Array:
        found = outputs["logits"].argmax(axis=1)
        return np.array(
            [[np.count_nonzero(mask == sample.target), mask.size] for mask, sample in zip(found, samples, strict=True)]
        )

    def _value(self, scores: Array) -> float:
        right, pixels = scores.sum(axis=0)
        return float(right / pixels)

    def likeness(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> dict[str, Array]:
        return {}

    def values(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return outputs

    def labels(self, outputs: Mapping[str, Array]) -> Array | None:
        return outputs["logits"].argmax(axis=1)

    def strata(self, sample: Sample) -> frozenset[str]:
        return frozenset() if sample.target is None else frozenset(CLASSES[k] for k in np.unique(sample.target))

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        return sample.image

    def truth(self, sample: Sample) -> Image:
        return sample.image


class Pixels:
    """A split of random images whose truth is "brighter than the middle"; counts how often each is read."""

    name = "val"

    def __init__(self, length: int) -> None:
        self.length = length
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.reads.append(index)
        image = np.random.default_rng(index).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
        return Sample(f"{index:03}", image, (image[..., 0] > 127).astype(np.uint8))


class Threshold:
    """A session: class 1 where the first channel is over a threshold, plus an offset on every logit."""

    inputs = (TensorSpec("image", "float32", (1, 3, 4, 6)),)
    outputs = (TensorSpec("logits", "float32", (1, 2, 4, 6)),)

    def __init__(self, threshold: float = 0.5, offset: float = 0.0) -> None:
        self.threshold = threshold
        self.offset = offset
        self.batches: list[int] = []

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        first = feeds["image"][:, 0]
        self.batches.append(len(first))
        over = first - np.float32(self.threshold)
        return {"logits": np.stack([-over, over], axis=1) + np.float32(self.offset)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
