"""Semantic segmentation: what goes into the network, what comes out, and how it is judged.

mIoU is the mean over classes of TP / (TP + FP + FN) from one confusion matrix (Everingham et al. 2010),
kept per image so that intervals can be had by resampling images. A class that occurs neither in the
truth nor in the prediction has no IoU and is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as Pillow

from visiondeploy.errors import InputError
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.types import Array, Ending, Image, Metric, Sample, TensorSpec

INPUT = "image"
OUTPUT = "logits"


class Segmentation:
    """The task for networks N×3×H×W → logits N×classes×H×W."""

    name = "segmentation"
    shown = ("input", "truth")
    inputs: tuple[str, ...] = (INPUT,)
    outputs: tuple[str, ...] = (OUTPUT,)
    ending: Ending | None = None
    tiled = False

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._palette = np.asarray(spec.palette, dtype=np.uint8)
        self._mean = np.asarray(spec.input.mean, dtype=np.float32)
        self._std = np.asarray(spec.input.std, dtype=np.float32)
        self.metrics = (Metric("miou", _miou, self._by_class),)

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """One image N×3×height×width float32."""
        return (TensorSpec(INPUT, "float32", ("batch", 3, self.spec.input.height, self.spec.input.width)),)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Logits N×classes×height×width float32."""
        size = self.spec.input
        return (TensorSpec(OUTPUT, "float32", ("batch", len(self.spec.classes), size.height, size.width)),)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """H×W×3 uint8 RGB images of any size to one batch N×3×height×width float32, resized and normalised."""
        batch = np.empty((len(samples), 3, self.spec.input.height, self.spec.input.width), dtype=np.float32)
        for row, sample in zip(batch, samples, strict=True):
            pixels = self.resized(sample.image).astype(np.float32)
            row[:] = ((pixels / 255.0 - self._mean) / self._std).transpose(2, 0, 1)
        return {INPUT: batch}

    def resized(self, image: Image) -> Image:
        """The image at the network's size, with Pillow's bilinear filter, which averages when it shrinks."""
        height, width = self.spec.input.height, self.spec.input.width
        if image.shape[:2] == (height, width):
            return image
        return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The logits as they are."""
        return dict(outputs)

    def values(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The logits."""
        return outputs

    def labels(self, outputs: Mapping[str, Array]) -> Array:
        """The class of each pixel, N×H×W of an integer type, from logits N×classes×H×W."""
        result: Array = outputs[OUTPUT].argmax(axis=1)
        return result

    def moved(self, sample: Sample) -> Sample | None:
        """None: each image is judged alone."""
        return None

    def score(
        self, outputs: Mapping[str, Array], samples: Sequence[Sample], moved: Mapping[str, Array] | None = None
    ) -> Array:
        """Confusion matrices N×classes×(classes + 1) int64, rows the truth, columns the prediction.

        The last column counts predictions that are no class, as a class map may hold where a runtime is at fault:
        they miss the true class. Ignored pixels are left out. The prediction is brought to the mask's size by nearest
        neighbour. Raises `InputError` where a sample has no mask.
        """
        classes = len(self.spec.classes)
        columns = classes + 1
        rows = np.zeros((len(samples), classes, columns), dtype=np.int64)
        for row, sample, predicted in zip(rows, samples, self.labels(outputs), strict=True):
            if sample.target is None:
                raise InputError(f"{sample.name} has no mask: mIoU needs one; name a split that has masks.")
            found = _resize_labels(predicted, sample.target.shape)
            valid = sample.target != self.spec.ignore_index
            pairs = sample.target[valid].astype(np.int64) * columns + np.minimum(found[valid], classes)
            row[:] = np.bincount(pairs, minlength=classes * columns).reshape(classes, columns)
        return rows

    def likeness(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> dict[str, Array]:
        """Nothing: maps of classes are alike where their classes agree."""
        return {}

    def _by_class(self, scores: Array) -> dict[str, float | None]:
        """IoU by class name; None where the class is neither in the truth nor in the prediction."""
        found = _iou(scores)
        return {name: None if np.isnan(iou) else float(iou) for name, iou in zip(self.spec.classes, found, strict=True)}

    def strata(self, sample: Sample) -> frozenset[str]:
        """The names of the classes in the mask; none where there is no mask."""
        if sample.target is None:
            return frozenset()
        there = np.bincount(sample.target.reshape(-1), minlength=256)
        return frozenset(name for name, pixels in zip(self.spec.classes, there, strict=False) if pixels)

    def classes(self, sample: Sample, outputs: Mapping[str, Array]) -> Array:
        """The predicted classes of the first item, H×W uint8, brought to the sample's size by nearest neighbour."""
        return _resize_labels(self.labels(outputs)[0].astype(np.uint8), sample.image.shape[:2])

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        """The predicted classes of the first item in the palette's colours, at the sample's size."""
        predicted = self.classes(sample, outputs)
        known = predicted < len(self._palette)
        colours: Image = self._palette[np.where(known, predicted, 0)]
        colours[~known] = 0
        return colours

    def truth(self, sample: Sample) -> Image:
        """The mask in the palette's colours; ignored pixels are black."""
        if sample.target is None:
            return np.zeros_like(sample.image)
        ignored = sample.target == self.spec.ignore_index
        colours = self._palette[np.where(ignored, 0, sample.target)]
        colours[ignored] = 0
        return colours


def _miou(scores: Array) -> float:
    """mIoU in 0…1 of the confusion matrices taken together; NaN where nothing was labelled."""
    found = _iou(scores)
    present = found[~np.isnan(found)]
    return float(present.mean()) if present.size else float("nan")


def _iou(scores: Array) -> Array:
    """IoU by class, NaN where a class is absent from truth and prediction."""
    total = scores.reshape(-1, *scores.shape[-2:]).sum(axis=0).astype(np.float64)
    hit = np.diagonal(total)
    union = total.sum(axis=0)[: len(total)] + total.sum(axis=1) - hit
    iou: Array = np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)
    return iou


def _resize_labels(labels: Array, shape: tuple[int, ...]) -> Array:
    """Nearest neighbour, pixel centres aligned."""
    if labels.shape == shape:
        return labels
    rows = ((np.arange(shape[0]) + 0.5) * labels.shape[0] / shape[0]).astype(np.int64)
    columns = ((np.arange(shape[1]) + 0.5) * labels.shape[1] / shape[1]).astype(np.int64)
    resized: Array = labels[rows][:, columns]
    return resized
