"""Semantic segmentation as it is served: a raw image goes in, a class map comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from visiondeploy.models.tasks.segmentation import INPUT, OUTPUT, Segmentation
from visiondeploy.types import Array, Ending, Sample, TensorSpec

CLASSES = "classes"


class SegmentationBytes(Segmentation):
    """The task for graphs N×H×W×3 uint8 → class map N×H×W uint8, with the network of `Segmentation` inside."""

    outputs = (CLASSES,)
    ending = Ending.CLASSES

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """One image N×height×width×3 uint8."""
        return (TensorSpec(INPUT, "uint8", ("batch", self.spec.input.height, self.spec.input.width, 3)),)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The class map N×height×width uint8."""
        return (TensorSpec(CLASSES, "uint8", ("batch", self.spec.input.height, self.spec.input.width)),)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """H×W×3 uint8 RGB images of any size to one batch N×height×width×3 uint8, resized and nothing else."""
        return {INPUT: np.stack([self.resized(sample.image) for sample in samples])}

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The class map N×H×W uint8 of logits N×classes×H×W: the largest, the first of those that are equal."""
        return {CLASSES: outputs[OUTPUT].argmax(axis=1).astype(np.uint8)}

    def values(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """None: class 3 is not nearer to class 4 than to class 9."""
        return {}

    def labels(self, outputs: Mapping[str, Array]) -> Array:
        """The class map."""
        return outputs[CLASSES]
