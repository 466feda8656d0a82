"""Teaching a small network the features of a large one, so that pictures can be optimised with it.

The student's layers are brought close to the teacher's in three ways:

    features     ‖S − T‖² / ‖T‖²                of each layer over the batch
    grams        ‖G(S) − G(T)‖² / ‖G(T)‖²       of each layer and image (`models/perceptual.py`)
    gradients    1 − cos(∂L_S/∂x, ∂L_T/∂x)      of each image x, L being its style loss towards another image

An optimisation sees nothing but the last, which costs as much as all else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visiondeploy.models.features import FeatureNet
from visiondeploy.models.mobile_features import MobileFeatures
from visiondeploy.models.perceptual import gram, style_loss

COARSE = 4
"""Gradients are compared pixel by pixel, and averaged over squares of so many: what moves more than single pixels."""

LEAST = 0.1
"""The energy of a picture's Gram matrix counts as at least this share of the batch's mean."""


class Student(nn.Module):
    """A network in training that gives the features of all layers before their ReLU, in units of `scales`.

    Those are the teacher's root mean squares by layer, so that all are numbers of one size. The first layer is the
    teacher's own and learns nothing.
    """

    def __init__(self, net: MobileFeatures, scales: Mapping[str, float]) -> None:
        super().__init__()
        self.net = net.requires_grad_(True)
        self.net.first.requires_grad_(False)
        self.scales = dict(scales)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The features N×C×H×W of all layers, in their order."""
        return tuple(found / self.scales[layer] for layer, found in self.net.before_relu(images).items())


def root_mean_squares(teacher: FeatureNet, pictures: Sequence[Tensor], layers: Sequence[str]) -> dict[str, float]:
    """By layer, the root mean square of the features of pictures 1×3×H×W."""
    with torch.no_grad():
        found = [teacher(picture, layers) for picture in pictures]
    return {
        layer: float(torch.stack([each[layer].square().mean() for each in found]).mean().sqrt()) for layer in layers
    }


def feature_errors(found: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By layer, ‖S − T‖² / ‖T‖² over the batch, a scalar; S is `found` before its ReLU, T behind it.

    Where the teacher is 0 anything below is right: the partial distance of Heo et al. 2019, arXiv:1904.01866. Where it
    is not, a channel that ReLU shuts still learns.
    """
    errors = {}
    for layer, wanted in taught.items():
        apart = torch.where(wanted > 0, found[layer] - wanted, found[layer].relu())
        errors[layer] = apart.square().sum() / wanted.square().sum().clamp(min=1e-6)
    return errors


def gram_errors(found: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By layer, the mean over images of ‖G(S) − G(T)‖² / ‖G(T)‖², a scalar; `found` is before its ReLU.

    A picture in which the teacher sees next to nothing is divided by a share of what it sees in the others.
    """
    errors = {}
    for layer, features in taught.items():
        wanted = gram(features)
        energy = wanted.square().sum(dim=(1, 2))
        apart = (gram(found[layer].relu()) - wanted).square().sum(dim=(1, 2))
        errors[layer] = (apart / energy.clamp(min=float(LEAST * energy.mean()) + 1e-12)).mean()
    return errors


def style_gradient(found: Mapping[str, Tensor], images: Tensor, *, create_graph: bool = False) -> Tensor:
    """∂(style loss)/∂(image) N×3×H×W, each image's style being that of the next one in the batch.

    `found` are the features of `images`, which require a gradient. With `create_graph` what is found can itself be
    differentiated with respect to the weights.
    """
    grams = {layer: gram(value).detach().roll(1, dims=0) for layer, value in found.items()}
    # The graph may be needed again, for the other terms.
    loss = style_loss(found, grams).sum()
    (gradient,) = torch.autograd.grad(loss, images, create_graph=create_graph, retain_graph=create_graph)
    return gradient


def gradient_error(found: Tensor, taught: Tensor) -> Tensor:
    """1 − the cosine between gradients N×3×H×W, the mean over images, and over single pixels and squares of them."""
    fine = F.cosine_similarity(found.flatten(1), taught.flatten(1), dim=1)
    coarse = [F.avg_pool2d(each, COARSE).flatten(1) for each in (found, taught)]
    return 1 - (fine + F.cosine_similarity(coarse[0], coarse[1], dim=1)).mean() / 2
