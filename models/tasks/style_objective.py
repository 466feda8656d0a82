"""What training a style network needs from torch: crops of photographs, paintings, and the perceptual loss.

Johnson et al. 2016: the photograph's content and the painting's Gram matrices in the features of a fixed network, and
total variation. Kept apart from `style.py`, which judges engines and must import without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.errors import UsageError
from visiondeploy.models.augment import augment
from visiondeploy.models.data.styled import Painting, StyledDataset
from visiondeploy.models.features import FeatureNet
from visiondeploy.models.perceptual import content_loss, slope, style_grams, style_losses, total_variation
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.style import STYLE, WEIGHTS, Style, as_tensor
from visiondeploy.types import Dataset, Sample

SMALLEST = 1e-4
"""Of a distance, below which its root pulls no more."""


class StyleObjective:
    """Content, style and total variation of what a network makes of crops.

    A batch is (N×3×H×W uint8 crops of photographs, N int64 numbers of the paintings that they are to look like).
    """

    def __init__(
        self, spec: NetworkSpec, train: TrainSettings, augment: AugmentSettings, paintings: Sequence[Painting]
    ) -> None:
        self.task = Style(spec)
        self.settings = train
        self.augment = augment
        self.whole = (spec.input.height, spec.input.width)
        self.size = (train.height or self.whole[0], train.width or self.whole[1])
        self._mean = torch.tensor(spec.input.mean).view(3, 1, 1)
        self._std = torch.tensor(spec.input.std).view(3, 1, 1)
        net = self.task.features
        pictures = [as_tensor(painting.image) for painting in paintings]
        found = [style_grams(net, picture, net.style) for picture in pictures]
        self._grams = {layer: torch.cat([gram[layer] for gram in found]) for layer in net.style}
        self._paintings = [self._normalise(_cut(picture, self.size)) for picture in pictures]
        self._pull = _pulls(net, pictures[0], found[0])

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """One augmented crop 3×H×W uint8 and the number of its painting; the same for the same sample and seed."""
        blank = replace(sample, target=np.zeros(sample.image.shape[:2], dtype=np.uint8))
        crop, _ = augment(blank, self.augment, self._scaled(sample), self.size, 0, seed)
        return crop, torch.tensor(sample.style)

    def _scaled(self, sample: Sample) -> tuple[int, int]:
        """The photograph's size when it covers the network's input, as it is judged."""
        tall, wide = sample.image.shape[:2]
        scale = max(self.whole[0] / tall, self.whole[1] / wide)
        return round(tall * scale), round(wide * scale)

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """A collated batch to normalised images N×3×H×W float32 and the numbers of their paintings."""
        images, styles = batch
        normalised = self._normalise(images.float() / 255.0)
        if self.settings.channels_last:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return normalised, styles

    def inputs(self, images: Tensor, styles: Tensor) -> tuple[Tensor, ...]:
        """What the network is fed: prepared images and, where it has such an input, what says the style."""
        if self.task.second == WEIGHTS:
            return images, F.one_hot(styles, len(self.task.style.names)).to(images)
        if self.task.second == STYLE:
            return images, torch.cat([self._paintings[style] for style in styles.tolist()]).to(images)
        return (images,)

    def loss(self, module: Callable[..., Tensor], images: Tensor, styles: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is their sum."""
        made = module(*self.inputs(images, styles)).float()
        # The picture is judged as it is shown, cut to 0…1; a pixel beyond still learns which way to go.
        made = made + (made.clamp(0, 1) - made).detach()
        photographs = images.float() * self._std.to(images.device) + self._mean.to(images.device)
        net, weights = self.task.features.to(images.device), self.settings
        with torch.no_grad():
            wanted = net(photographs, net.content)
        found = net(made, (*net.content, *net.style))
        grams = {layer: gram.to(images.device)[styles] for layer, gram in self._grams.items()}
        style = [self._pull[layer] * _root(loss) for layer, loss in style_losses(found, grams).items()]
        terms = {
            "content": weights.content * _root(content_loss(found, wanted)).mean(),
            "style": weights.style * torch.stack(style).mean(),
            "variation": weights.variation * total_variation(made).mean(),
        }
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, **terms}

    def imitation(self, found: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far pictures N×3×H×W are from those of a teacher: the mean square of the difference, of those in 0…1."""
        del temperature
        return F.mse_loss(found, taught)

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self._mean.to(images.device)) / self._std.to(images.device)


def _cut(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of a picture 1×3×H×W, scaled to cover a size."""
    scale = max(size[0] / picture.shape[-2], size[1] / picture.shape[-1])
    covering = [max(want, round(extent * scale)) for want, extent in zip(size, picture.shape[-2:], strict=True)]
    scaled = F.interpolate(picture, covering, mode="bilinear", antialias=True)
    top, left = ((extent - want) // 2 for extent, want in zip(covering, size, strict=True))
    return scaled[..., top : top + size[0], left : left + size[1]]


def _root(distance: Tensor) -> Tensor:
    """√d. Of a batch the photographs that are far off would else teach alone: their squares are hundreds of others'."""
    return (distance + SMALLEST).sqrt()


def _pulls(net: FeatureNet, painting: Tensor, grams: Mapping[str, Tensor]) -> dict[str, float]:
    """What the style loss of each layer is multiplied by, so that it pulls at a picture as the content loss does.

    Without, deep layers, in which a change of the picture is seen ten times as large as in the first one, would teach
    strokes and leave out colours. Slopes are measured between the painting 1×3×H×W and its mirror image, of which it is
    to have the content.
    """
    mirrored = painting.flip(3)
    between = ((painting + mirrored) / 2).requires_grad_()
    found = net(between, (*net.content, *net.style))
    with torch.no_grad():
        wanted = net(mirrored, net.content)
    content = slope(content_loss(found, wanted), between)
    return {layer: content / slope(loss, between) for layer, loss in style_losses(found, grams).items()}


def objective(
    spec: NetworkSpec, dataset: Dataset, train: TrainSettings, augment: AugmentSettings, needs_labels: bool
) -> StyleObjective:
    """The objective for a network and the paintings of a data set. Raises `UsageError` where it has none, or others."""
    if not isinstance(dataset, StyledDataset):
        raise UsageError(f"the data set {dataset.name} has no paintings: name one with --style.")
    return StyleObjective(spec, train, augment, dataset.paintings)
