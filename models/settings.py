"""How a network learns: the settings of training and augmentation. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from visiondeploy.types import Seed, Settings

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentSettings(Settings):
    """Training augmentation from `models/augment.py`.

    `hflip` is the probability of a mirror image, `rotation` the largest angle in degrees either way, `scale`
    the range of sizes relative to the network's input, drawn log-uniformly; brightness, contrast and saturation are
    scaled by up to ± their value, hue is turned by up to ± its share of the circle; `cutmix` is the
    probability of CutMix for a batch.
    """

    hflip: Probability = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.75, 1.5)
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.3
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.3
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.3
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    cutmix: Probability = 0.25

    @model_validator(mode="after")
    def _scale_in_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale runs from small to large, found {list(self.scale)}: swap them")
        return self


class TrainSettings(Settings):
    """Training from `models/training.py`.

    `steps` counts optimiser steps of `batch_size` images in each process; 0 leaves the weights random.
    `height` and `width` are those of the crops, None for the network's input size. `cross_entropy` and `dice` are
    the weights of what a segmentation network learns from; `content`, `style` and `variation` those of a style network:
    the photograph's content, the painting's style (`models/perceptual.py`), and a smooth picture. `validate_every` and
    `save_every` count steps, 0 for only at the end.
    """

    section: ClassVar[str] = "train"
    """Where they stand in a recipe, for messages."""

    steps: Annotated[int, Field(ge=0)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 8
    height: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    cross_entropy: Annotated[float, Field(ge=0)] = 1.0
    dice: Annotated[float, Field(ge=0)] = 0.5
    content: Annotated[float, Field(ge=0)] = 1.0
    style: Annotated[float, Field(ge=0)] = 2.0
    variation: Annotated[float, Field(ge=0)] = 1.0
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    channels_last: bool = True
    workers: Annotated[int, Field(ge=0)] | None = None
    validate_every: Annotated[int, Field(ge=0)] = 0
    validate_images: Annotated[int, Field(ge=1)] | None = None
    save_every: Annotated[int, Field(ge=0)] = 100
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        if self.cross_entropy == 0 and self.dice == 0:
            raise ValueError("cross_entropy and dice are both 0, so that nothing is learnt: give one a weight above 0")
        if self.content == 0 and self.style == 0:
            raise ValueError("content and style are both 0, so that nothing is learnt: give one a weight above 0")
        return self


class StyleSettings(Settings):
    """What a style network paints like: pictures of paintings, one for each style of the network.

    `size` is the longer side in pixels that they are brought to: textures are as large as in them then. `features`
    names the network (`models/features.py`) in whose features style and content are learnt and judged. Of a checkpoint
    both are what it was taught with unless they are given; else 512 and "mobilenet".
    """

    images: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    features: Annotated[str, Field(min_length=1)] | None = None
    size: Annotated[int, Field(ge=32, le=4096)] | None = None


class QatSettings(TrainSettings):
    """Fine-tuning for int8 with fake quantisation (`models/qat.py`); the float network teaches (`models/distilled.py`).

    `steps` 0 leaves it out. `temperature` softens the classes' distributions that are compared; `task_weight` is the
    weight of the task's own loss beside that comparison, and with 0 no labels are needed. Ranges of activations are
    tracked but for the last `freeze_share` of the steps.
    """

    section: ClassVar[str] = "qat"

    steps: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    schedule: Literal["one-cycle", "cosine"] = "cosine"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    task_weight: Annotated[float, Field(ge=0)] = 0.1
    freeze_share: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @property
    def tracked(self) -> int:
        """The steps in which ranges are tracked."""
        return max(1, self.steps - round(self.steps * self.freeze_share))


class DistilSettings(Settings):
    """What a network learns from a teacher (`models/distilled.py`): weights of the terms of its loss.

    A term of weight 0 is not computed. `temperature` softens the classes' distributions that are compared, with
    weight `logits`; `features` is the weight of where the networks look, at each resolution, and `affinity` that of
    which positions they find alike, at the lowest one; `task_weight` is the weight of the task's own loss beside
    them, and with 0 no labels are needed.
    """

    # With 1 each, the gradients of features and affinity were 0.2 to 0.4 and 0.1 to 0.4 of that of the logits, for a
    # UNet of half the channels in its first hundred steps.

    temperature: Annotated[float, Field(gt=0)] = 1.0
    logits: Annotated[float, Field(ge=0)] = 1.0
    features: Annotated[float, Field(ge=0)] = 0.2
    affinity: Annotated[float, Field(ge=0)] = 1.0
    task_weight: Annotated[float, Field(ge=0)] = 0.5

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        if not (self.logits or self.features or self.affinity or self.task_weight):
            raise ValueError(
                "logits, features, affinity and task_weight are all 0, so that nothing is learnt: give one a weight "
                "above 0"
            )
        return self


class FinetuneSettings(TrainSettings):
    """Fine-tuning of a network that was compressed, with what it was before as the teacher.

    `steps` 0 leaves it out. With `teach` it learns as `distil` says, else from the labels alone.
    """

    section: ClassVar[str] = "finetune"

    steps: Annotated[int, Field(ge=0)] = 300
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["one-cycle", "cosine"] = "cosine"
    teach: bool = True
    distil: DistilSettings = DistilSettings()
