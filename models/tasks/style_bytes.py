"""Style transfer as it is served: a raw image goes in, a picture to be shown comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from visiondeploy.models.tasks.style import INPUT, Style
from visiondeploy.types import Array, Ending, Sample, TensorSpec

PIXELS = "pixels"


class StyleBytes(Style):
    """The task for graphs N×H×W×3 uint8 → pictures N×H×W×3 uint8, with the network of `Style` inside."""

    outputs = (PIXELS,)
    ending = Ending.PIXELS

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """One image N×height×width×3 uint8."""
        return (TensorSpec(INPUT, "uint8", self._pixels),)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The picture N×height×width×3 uint8."""
        return (TensorSpec(PIXELS, "uint8", self._pixels),)

    @property
    def _pixels(self) -> tuple[int | str, ...]:
        return ("batch", self.spec.input.height, self.spec.input.width, 3)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """H×W×3 uint8 RGB images of any size to one batch N×height×width×3 uint8, cut to shape and nothing else."""
        return {INPUT: np.stack([self.fitted(sample.image) for sample in samples])}

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The pixels N×H×W×3 uint8 of pictures N×3×H×W in 0…1, rounded to the nearest, halves to the even one."""
        pixels = np.rint(super().pictures(outputs) * 255.0).astype(np.uint8)
        return {PIXELS: np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))}

    def pictures(self, outputs: Mapping[str, Array]) -> Array:
        """The pictures N×3×H×W float32 in 0…1."""
        found: Array = outputs[PIXELS].transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        return found
