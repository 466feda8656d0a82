"""What training a segmentation network needs from torch: items, batches, losses.

Kept apart from `segmentation.py`, which judges engines and must import without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from visiondeploy.errors import InputError
from visiondeploy.models.augment import augment, cutmix
from visiondeploy.models.losses import distillation_loss, segmentation_loss
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.types import Dataset, Sample

MAX_UNLABELLED = 20
"""Batches at the start of a run, by which a label has to be seen."""


class SegmentationObjective:
    """Cross entropy and Dice on augmented crops. A batch is (N×3×H×W uint8 images, N×H×W int64 masks).

    Unless it `needs_labels`, an image without a mask counts as one whose pixels are all ignored.
    """

    def __init__(
        self, spec: NetworkSpec, train: TrainSettings, augment: AugmentSettings, needs_labels: bool = True
    ) -> None:
        self.spec = spec
        self.settings = train
        self.augment = augment
        self.needs_labels = needs_labels
        self.whole = (spec.input.height, spec.input.width)
        self.size = (train.height or self.whole[0], train.width or self.whole[1])
        self._seen, self._labelled = 0, False
        self._mean = torch.tensor(spec.input.mean).view(3, 1, 1)
        self._std = torch.tensor(spec.input.std).view(3, 1, 1)

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """One augmented crop; the same for the same sample and seed."""
        if sample.target is None and not self.needs_labels:
            blank = np.full(sample.image.shape[:2], self.spec.ignore_index, dtype=np.uint8)
            sample = replace(sample, target=blank)
        return augment(sample, self.augment, self.whole, self.size, self.spec.ignore_index, seed)

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """A collated batch to normalised images N×3×H×W float32 and masks, after CutMix.

        Raises `InputError` where not one pixel of the run's first batches has a label.
        """
        images, masks = batch
        if self.needs_labels:
            self._look_for_labels(masks)
        generator = torch.Generator().manual_seed(seed)
        images, masks = cutmix(images, masks.long(), self.augment.cutmix, generator)
        normalised = (images.float() / 255.0 - self._mean.to(images.device)) / self._std.to(images.device)
        if self.settings.channels_last:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return normalised, masks

    def inputs(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """What the network is fed: the images."""
        return (images,)

    def imitation(self, found: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far logits N×classes×H×W are from a teacher's: the divergence of the classes' distributions."""
        return distillation_loss(found, taught, temperature)

    def _look_for_labels(self, masks: Tensor) -> None:
        self._labelled = self._labelled or bool((masks != self.spec.ignore_index).any())
        self._seen += 1
        if not self._labelled and self._seen >= min(MAX_UNLABELLED, self.settings.steps):
            raise InputError(
                f"training: no pixel of {self._seen} batches has a label, all are {self.spec.ignore_index}, the "
                "ignore_index; correct the masks of the split data.train, or set "
                f"{self.settings.section}.batch_size higher."
            )

    def loss(self, module: Callable[..., Tensor], images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is their sum."""
        logits = module(images).float()
        return segmentation_loss(logits, masks, self.spec.ignore_index, self.settings.cross_entropy, self.settings.dice)


def objective(
    spec: NetworkSpec, dataset: Dataset, train: TrainSettings, augment: AugmentSettings, needs_labels: bool
) -> SegmentationObjective:
    """The objective for a network, whatever the data set."""
    return SegmentationObjective(spec, train, augment, needs_labels)
