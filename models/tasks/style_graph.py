"""Style transfer with an ONNX file of somebody else: its own names and layout, and what can be judged of it.

Nobody knows which painting it was taught. The style is judged where one is given, the content where there are features
to judge it in, and how steady pictures are always. What gives no picture at all is compared by its numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.spec import ConstantFeed, GraphSpec, Layout, NetworkSpec
from visiondeploy.models.tasks.style import Style
from visiondeploy.types import Array, Image, Sample, TensorSpec

AXES: dict[Layout, tuple[int, ...]] = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
"""The axes of N×3×H×W in the order of a layout."""


class StyleGraph(Style):
    """The task for graphs image → outputs, one of which may be a picture, with constants for the other inputs."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        if spec.graph is None:
            raise InputError(f"network {spec.architecture} is an ONNX file, and its description has no graph.")
        self.graph: GraphSpec = spec.graph
        self.inputs = (self.graph.image, *(constant.name for constant in self.graph.constants))
        self.outputs = self.graph.outputs
        self.tiled = spec.paints
        judged = self._judged()
        self.metrics = tuple(metric for metric in self.metrics if metric.name in judged)
        if not self.style.names:
            self.shown = ("content", "no painting")

    def _judged(self) -> set[str]:
        """The names of the metrics that something can be said of."""
        if not self.spec.paints:
            return set()
        losses = ("content_loss", "style_loss") if self.style.names else ("content_loss",)
        return {"flicker", *(losses if self.style.features is not None else ())}

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The image in the layout of the graph, and the constants."""
        constants = (
            TensorSpec(one.name, one.dtype, ("batch", *one.shape[1:]) if one.batched else one.shape)
            for one in self.graph.constants
        )
        return (TensorSpec(self.graph.image, "float32", self._laid_out(self.graph.layout)), *constants)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The picture in its layout; of other outputs nothing is known."""
        picture = self.graph.picture
        return () if picture is None else (TensorSpec(picture.name, "float32", self._laid_out(picture.layout)),)

    def _laid_out(self, layout: Layout) -> tuple[int | str, ...]:
        return tuple(self._shape[axis] for axis in AXES[layout])

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """One batch of images, cut to shape and normalised, and what else the graph takes."""
        images = np.stack([self._normalised(sample.image) for sample in samples])
        constants = {one.name: values_of(one, len(samples)) for one in self.graph.constants}
        return {self.graph.image: np.ascontiguousarray(images.transpose(AXES[self.graph.layout])), **constants}

    def pictures(self, outputs: Mapping[str, Array]) -> Array:
        """The pictures N×3×H×W float32 in 0…1. Raises `UsageError` where the graph gives none."""
        picture = self.graph.picture
        if picture is None:
            raise UsageError(f"{self.graph.file} gives {', '.join(self.outputs)} and no picture: nothing can be shown.")
        found = outputs[picture.name].astype(np.float32).transpose(np.argsort(AXES[picture.layout]))
        within: Array = np.clip(np.nan_to_num((found - picture.low) / (picture.high - picture.low), nan=0.0), 0, 1)
        return within

    def moved(self, sample: Sample) -> Sample | None:
        """The sample panned; None where there is no picture to be steady."""
        return super().moved(sample) if self.spec.paints else None

    def score(
        self, outputs: Mapping[str, Array], samples: Sequence[Sample], moved: Mapping[str, Array] | None = None
    ) -> Array:
        """As of any style network; without a picture N×0."""
        return super().score(outputs, samples, moved) if self.spec.paints else np.zeros((len(samples), 0))

    def _losses(self, outputs: Mapping[str, Array], samples: Sequence[Sample]) -> Array:
        """NaN for the content where there are no features."""
        return super()._losses(outputs, samples) if self.style.features else np.full((len(samples), 1), np.nan)

    def likeness(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> dict[str, Array]:
        """As of any style network; nothing without a picture."""
        return super().likeness(reference, candidate) if self.spec.paints else {}

    def truth(self, sample: Sample) -> Image:
        """The painting; black without one."""
        return np.zeros_like(sample.image) if sample.target is None else sample.target


def values_of(constant: ConstantFeed, batch: int) -> Array:
    """What a constant is fed with a batch of images."""
    dtype = np.dtype(constant.dtype)
    if isinstance(constant.values, float):
        one: Array = np.full(constant.shape, constant.values, dtype)
    else:
        one = np.array(constant.values).astype(dtype).reshape(constant.shape)
    return np.repeat(one, batch, axis=0) if constant.batched else one
