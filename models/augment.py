"""Training augmentation: flip, rotation, scale, crop and colour with torchvision v2, and CutMix for masks.

Everything is drawn from a seed that is passed in, so that an item is the same in whichever worker and
after whichever interruption it is made; the global generators are neither read nor moved.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from visiondeploy.errors import InputError
from visiondeploy.models.settings import AugmentSettings
from visiondeploy.types import Sample


def augment(
    sample: Sample,
    settings: AugmentSettings,
    whole: tuple[int, int],
    size: tuple[int, int],
    ignore_index: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """A random crop of `size` (height, width): image 3×H×W uint8 and mask H×W uint8, pixel for pixel aligned.

    At `settings.scale` 1 the whole image is `whole` pixels: the network's input, whose scale it is to learn.

    What lies outside the image after scaling or rotation is black in the image and `ignore_index` in the
    mask. Raises `InputError` for a sample without a mask.
    """
    if sample.target is None:
        raise InputError(f"{sample.name} has no mask: training needs one for each image.")
    generator = torch.Generator().manual_seed(seed)
    image: Tensor = tv_tensors.Image(torch.from_numpy(sample.image.copy()).permute(2, 0, 1))
    mask: Tensor = tv_tensors.Mask(torch.from_numpy(sample.target.copy())[None])
    if _uniform(generator, 0, 1) < settings.hflip:
        image, mask = F.horizontal_flip(image), F.horizontal_flip(mask)
    image, mask = _rotate(image, mask, settings, ignore_index, generator)
    image, mask = _scale_and_crop(image, mask, settings, whole, size, ignore_index, generator)
    return torch.Tensor.contiguous(_jitter(image, settings, generator)), mask[0].contiguous()


def cutmix(images: Tensor, masks: Tensor, probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al. 2019, arXiv:1905.04899) for masks: a box of each item comes from another of the batch.

    The box is the same for the batch, covers the share 1 − λ of the area with λ uniform in 0…1 (Beta(1, 1)),
    and is pasted into the image N×C×H×W and the mask N×H×W alike, so that no label has to be mixed.
    """
    if _uniform(generator, 0, 1) >= probability:
        return images, masks
    height, width = images.shape[-2:]
    side = math.sqrt(_uniform(generator, 0, 1))
    tall, wide = round(height * side), round(width * side)
    top, left = _whole(generator, height - tall), _whole(generator, width - wide)
    order = torch.randperm(images.shape[0], generator=generator)
    images, masks = images.clone(), masks.clone()
    box = (..., slice(top, top + tall), slice(left, left + wide))
    images[box], masks[box] = images[order][box], masks[order][box]
    return images, masks


def _rotate(
    image: Tensor, mask: Tensor, settings: AugmentSettings, ignore_index: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    angle = _uniform(generator, -settings.rotation, settings.rotation)
    if settings.rotation == 0:
        return image, mask
    return (
        F.rotate(image, angle, interpolation=InterpolationMode.BILINEAR),
        F.rotate(mask, angle, interpolation=InterpolationMode.NEAREST, fill=[float(ignore_index)]),
    )


def _scale_and_crop(
    image: Tensor,
    mask: Tensor,
    settings: AugmentSettings,
    whole: tuple[int, int],
    size: tuple[int, int],
    ignore_index: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    factor = math.exp(_uniform(generator, math.log(settings.scale[0]), math.log(settings.scale[1])))
    scaled = [max(1, round(extent * factor)) for extent in whole]
    image = F.resize(image, scaled, interpolation=InterpolationMode.BILINEAR, antialias=True)
    mask = F.resize(mask, scaled, interpolation=InterpolationMode.NEAREST_EXACT)
    # left, top, right, bottom, spread so that a small image may stand anywhere in the crop
    missing = (max(0, size[1] - scaled[1]), max(0, size[0] - scaled[0]))
    before = (_whole(generator, missing[0]), _whole(generator, missing[1]))
    padding = [*before, missing[0] - before[0], missing[1] - before[1]]
    if any(padding):
        image, mask = F.pad(image, padding), F.pad(mask, padding, fill=float(ignore_index))
    top = _whole(generator, image.shape[-2] - size[0])
    left = _whole(generator, image.shape[-1] - size[1])
    return F.crop(image, top, left, *size), F.crop(mask, top, left, *size)


def _jitter(image: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    def factor(strength: float) -> float:
        return _uniform(generator, 1 - strength, 1 + strength)

    image = F.adjust_brightness(image, factor(settings.brightness))
    image = F.adjust_contrast(image, factor(settings.contrast))
    image = F.adjust_saturation(image, factor(settings.saturation))
    turn = _uniform(generator, -settings.hue, settings.hue)
    return F.adjust_hue(image, turn) if settings.hue > 0 else image


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _whole(generator: torch.Generator, most: int) -> int:
    """An integer from 0 to `most`, both included."""
    return int(torch.randint(0, most + 1, (), generator=generator))
