"""What the training loop needs to teach a feature network: pictures, the loss, and how far the student has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.models.distillation_pictures import drawn_picture
from visiondeploy.models.feature_distillation import feature_errors, gradient_error, gram_errors, style_gradient
from visiondeploy.models.features import FeatureNet
from visiondeploy.models.mobile_features import FIRST
from visiondeploy.models.settings import TrainSettings
from visiondeploy.types import Array, Image, Metric, Sample

INPUT = "image"

SHOWN = "relu3_1"
"""The layer that TensorBoard shows."""


class FeatureSettings(TrainSettings):
    """Teaching a feature network (`models/feature_distillation.py`): crops of `size` pixels, and weights of the terms.

    `fitted` counts the pictures that the first weights are fitted on; `steps` 0 leaves it at them. The fit is near an
    optimum: with ten times the rate the features were half as far off again after twenty steps, and stayed there.
    """

    section: ClassVar[str] = "distil"

    fitted: Annotated[int, Field(ge=1)] = 128
    steps: Annotated[int, Field(ge=0)] = 300
    batch_size: Annotated[int, Field(ge=2)] = 3
    size: Annotated[int, Field(ge=32, le=512)] = 128
    save_every: Annotated[int, Field(ge=0)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 3e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["one-cycle", "cosine"] = "cosine"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    validate_images: Annotated[int, Field(ge=1)] | None = 8
    features: Annotated[float, Field(ge=0)] = 1.0
    grams: Annotated[float, Field(ge=0)] = 0.5
    gradients: Annotated[float, Field(ge=0)] = 0.5


class FeatureObjective:
    """Losses of a `Student` against its teacher on pictures N×3×size×size that are made of each sample."""

    def __init__(self, teacher: FeatureNet, scales: Mapping[str, float], settings: FeatureSettings) -> None:
        self.teacher, self.scales, self.settings = teacher, dict(scales), settings
        # The first layer is the teacher's own.
        self.taught = tuple(layer for layer in self.scales if layer != FIRST)
        self.style = tuple(layer for layer in teacher.style if layer in self.taught)

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """A picture 3×size×size float32 in 0…1 made of a sample, whose target is a painting; and nothing, as 0."""
        paintings = [] if sample.target is None else [sample.target]
        return drawn_picture(sample.image, paintings, self.settings.size, seed), torch.tensor(0)

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """The batch as it is."""
        del seed
        return batch

    def inputs(self, images: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
        """The images alone."""
        del truth
        return (images,)

    def loss(self, module: Callable[..., Any], images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is their sum. Gradients of weight 0 are not computed."""
        weights = self.settings
        images = images.requires_grad_(weights.gradients > 0)
        found = dict(zip(self.scales, module(images), strict=True))
        taught = {layer: value / self.scales[layer] for layer, value in self.teacher(images, self.taught).items()}
        fixed = {layer: value.detach() for layer, value in taught.items()}
        style = {layer: fixed[layer] for layer in self.style}
        terms = {
            "features": weights.features * _mean(feature_errors(found, fixed)),
            "grams": weights.grams * _mean(gram_errors(found, style)),
        }
        if weights.gradients:
            ours = style_gradient({layer: found[layer].relu() for layer in style}, images, create_graph=True)
            theirs = style_gradient({layer: taught[layer] for layer in style}, images)
            terms["gradients"] = weights.gradients * gradient_error(ours, theirs)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def imitation(self, found: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """The mean square of the difference."""
        del temperature
        return F.mse_loss(found, taught)


class FeatureWatch:
    """What training is watched by: ‖S − T‖² / ‖T‖² of the features, the mean over layers but the first.

    Images are cut to their middle, `size` pixels square where they are that large.
    """

    inputs: tuple[str, ...] = (INPUT,)

    def __init__(self, teacher: FeatureNet, scales: Mapping[str, float], size: int) -> None:
        self.teacher, self.scales, self.size = teacher, dict(scales), size
        self.outputs = tuple(self.scales)
        self.taught = tuple(layer for layer in self.outputs if layer != FIRST)
        self.metrics = (Metric("feature_error", self._value, self._parts, "layer", smaller=True),)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """Samples of one size to one batch N×3×H×W float32 in 0…1."""
        return {INPUT: np.stack([self._middle(sample.image) for sample in samples])}

    def score(self, outputs: Mapping[str, Array], samples: Sequence[Sample]) -> Array:
        """Rows N×(2 · layers) float64: ‖S − T‖², then ‖T‖², by layer."""
        taught = self._taught(samples)
        found = {layer: np.maximum(outputs[layer], 0) for layer in self.taught}
        apart = [np.square(found[layer] - taught[layer]).sum(axis=(1, 2, 3)) for layer in self.taught]
        energy = [np.square(taught[layer]).sum(axis=(1, 2, 3)) for layer in self.taught]
        rows: Array = np.stack(apart + energy, axis=1).astype(np.float64)
        return rows

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        """The energy of the student's features at each position, as grey."""
        return _energy(np.maximum(outputs[SHOWN][0], 0))

    def truth(self, sample: Sample) -> Image:
        """The energy of the teacher's features at each position, as grey."""
        return _energy(self._taught([sample])[SHOWN][0])

    def _middle(self, image: Image) -> Array:
        height, width = (min(self.size, extent) for extent in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut: Array = image[top : top + height, left : left + width].astype(np.float32).transpose(2, 0, 1) / 255.0
        return cut

    def _taught(self, samples: Sequence[Sample]) -> dict[str, Array]:
        images = torch.from_numpy(self.preprocess(samples)[INPUT])
        with torch.no_grad():
            found = self.teacher(images, self.taught)
        return {layer: (value / self.scales[layer]).numpy() for layer, value in found.items()}

    def _value(self, rows: Array) -> float:
        return float(np.mean(list(self._by_layer(rows).values())))

    def _parts(self, rows: Array) -> dict[str, float | None]:
        return {**self._by_layer(rows)}

    def _by_layer(self, rows: Array) -> dict[str, float]:
        sums = rows.sum(axis=0)
        count = len(self.taught)
        return {layer: float(sums[i] / max(sums[count + i], 1e-12)) for i, layer in enumerate(self.taught)}


def _mean(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).mean()


def _energy(features: Array) -> Image:
    """Features C×H×W in units of their root mean square to H×W×3 uint8."""
    grey = np.sqrt(np.square(features).mean(axis=0)) / 3
    found: Image = np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    return found
