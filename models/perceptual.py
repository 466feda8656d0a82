"""Distances of pictures as a network sees them: Gram matrices for style, features for content, and total variation.

Features are N×C×H×W of any floating type, by the name of their layer; a distance is one float32 number for each image,
N, and differentiable with respect to what was found. Style and content are relative: 0 where all is as wanted, 1 where
nothing was found at all. So layers, networks, paintings and photographs of any contrast are on one scale, each layer
counts the same, and a weight means the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_ENERGY = 1e-12
"""What a distance is divided by at least: a layer that gives nothing for what is wanted would outweigh all others."""


class Features(Protocol):
    """Gives the features of images N×3×H×W, RGB in 0…1, by the names of layers."""

    def __call__(self, images: Tensor, layers: Sequence[str]) -> Mapping[str, Tensor]:
        """Features N×C×H×W, of a size of its own for each layer."""
        ...


class _Gram(torch.autograd.Function):
    """X·Xᵀ of N×C×P, or Xᵀ·X of N×P×C where channels are last, times a scale: N×C×C.

    The gradient of X is (D + Dᵀ)·X: one product, where autograd would make two and add them, each as large as the
    features. It can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, scale: float, last: bool) -> Tensor:
        """The matrices."""
        ctx.save_for_backward(flat)
        ctx.scale, ctx.last = scale, last
        turned = flat.transpose(1, 2)
        found: Tensor = (turned @ flat if last else flat @ turned) * scale
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the features."""
        (flat,) = ctx.saved_tensors
        both = (gradients[0] + gradients[0].transpose(1, 2)) * ctx.scale
        return (flat @ both if ctx.last else both @ flat), None, None


def gram(features: Tensor) -> Tensor:
    """The Gram matrices N×C×C of features N×C×H×W: G = F·Fᵀ / (C·H·W), F being C×H·W.

    Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155, section 3.2: divided by the number of positions it is a mean over
    them, so that pictures of different sizes can be compared. Computed in float32, in which the sums of half precision
    do not overflow, and in the layout that the features have: a copy of them takes as long as the product.
    """
    channels, height, width = features.shape[1:]
    last = features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous()
    flat = features.permute(0, 2, 3, 1).flatten(1, 2) if last else features.flatten(2)
    with torch.autocast(features.device.type, enabled=False):
        matrices: Tensor = _Gram.apply(flat.float(), 1 / (channels * height * width), last)
    return matrices


def style_grams(net: Features, painting: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The Gram matrices N×C×C of paintings N×3×H×W, by layer: what `style_losses` compares with; without gradient."""
    with torch.no_grad():
        found = net(painting, layers)
        return {layer: gram(found[layer]) for layer in layers}


def style_losses(found: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By layer, how far the Gram matrices of features N×C×H×W are from those of paintings, for each image, N:

        ‖G(found) − G‖² / ‖G‖²    of the Frobenius norm

    Gatys, Ecker and Bethge 2016, equation 4, which divides by 4·C²·(H·W)² instead, and leaves each layer with another
    weight. `grams` are N×C×C, or 1×C×C for one painting for all images; `found` may have more layers.
    """
    return {layer: _relative(gram(found[layer]), wanted) for layer, wanted in grams.items()}


def style_loss(found: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> Tensor:
    """The mean over layers of `style_losses`, for each image, N."""
    return torch.stack(list(style_losses(found, grams).values())).mean(dim=0)


def content_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """The mean over layers of how far features N×C×H×W are from those wanted, ‖F − P‖² / ‖P‖², for each image, N.

    Gatys, Ecker and Bethge 2016, equation 1, relative to the features of the photograph. `found` may have more layers
    than `wanted`.
    """
    return torch.stack([_relative(found[layer], features) for layer, features in wanted.items()]).mean(dim=0)


def total_variation(images: Tensor) -> Tensor:
    """The mean over channels and pixels of (x[i+1, j] − x[i, j])² + (x[i, j+1] − x[i, j])², for each image, N.

    Mahendran and Vedaldi 2015, arXiv:1412.0035, equation 6 with β = 2, and a mean for the sum. Images N×C×H×W; a
    picture of one row or column has no variation across it.
    """
    images = images.float()
    across = (images.diff(dim=axis).square().flatten(1) for axis in (2, 3))
    return torch.stack([each.sum(dim=1) / max(1, each.shape[1]) for each in across]).sum(dim=0)


def slope(distance: Tensor, picture: Tensor) -> float:
    """√P·‖∂√d/∂x‖ of a distance, one number, of a picture of P values: how far it moves for a change of the picture.

    Distances that are divided by it pull alike, whatever the network, the layer and the pictures: the gradient of each
    is 2·√d/√P then. 1 where the distance is 0, and has no slope.
    """
    (gradient,) = torch.autograd.grad(distance.sum().sqrt(), picture, retain_graph=True)
    found = float(gradient.norm()) * picture.numel() ** 0.5
    return found if math.isfinite(found) and found > 0 else 1.0


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    """‖found − wanted‖² / ‖wanted‖² for each image, N."""
    found, wanted = found.float(), wanted.detach().float()
    energy = wanted.square().flatten(1).sum(dim=1)
    return (found - wanted).square().flatten(1).sum(dim=1) / energy.clamp(min=SMALLEST_ENERGY)


def perceptual_distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """The mean over layers of how far apart two pictures are in features N×C×H×W of unit length, for each image, N.

    LPIPS of Zhang et al. 2018 (arXiv:1801.03924), equation 1, with all weights 1: the squared distance of the channels'
    directions at each position, averaged over positions. 0 for equal pictures, 2 for features that have nothing in
    common.
    """
    distances = []
    for layer, features in one.items():
        first, second = (functional.normalize(each.float(), dim=1, eps=1e-10) for each in (features, other[layer]))
        distances.append((first - second).square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)
