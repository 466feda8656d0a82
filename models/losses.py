"""Losses of segmentation training, all of them scalars. Logits and features are N×C×H×W, targets N×H×W int64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_NORM = 1e-4
"""What features and their maps are divided by at least where they are normalised.

At zero there is no direction, and next to it the gradient of one grows as 1/norm: a few dead positions would outweigh
all others.
"""


def soft_dice(logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """1 − mean over classes of 2·Σ p·t / (Σ p + Σ t) over the batch (Milletari et al. 2016).

    Ignored pixels count neither as prediction nor as truth; classes absent from the batch's truth are
    left out of the mean, so that a batch without a rare class does not push it away everywhere.
    """
    classes = logits.shape[1]
    valid = (target != ignore_index).unsqueeze(1)
    probability = logits.softmax(dim=1) * valid
    truth = F.one_hot(target.where(target != ignore_index, 0), classes).movedim(-1, 1) * valid
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    size = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    if not present.any():
        return logits.sum() * 0.0
    return 1.0 - (2.0 * overlap[present] / size[present]).mean()


def segmentation_loss(
    logits: Tensor, target: Tensor, ignore_index: int, cross_entropy: float, dice: float
) -> dict[str, Tensor]:
    """The weighted terms by name, and their sum as "loss". All are scalars."""
    terms: dict[str, Tensor] = {}
    if cross_entropy > 0:
        labelled = (target != ignore_index).any()
        entropy = F.cross_entropy(logits, target, ignore_index=ignore_index) if labelled else logits.sum() * 0.0
        terms["cross_entropy"] = cross_entropy * entropy
    if dice > 0:
        terms["dice"] = dice * soft_dice(logits, target, ignore_index)
    total = torch.stack(list(terms.values())).sum() if terms else logits.sum() * 0.0
    return {"loss": total, **terms}


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) of the classes' distributions at temperature T, in nats, mean over all pixels.

    Hinton, Vinyals and Dean 2015, arXiv:1503.02531: with T² the gradient's size does not depend on T.
    """
    teacher, student = ((given / temperature).log_softmax(dim=1) for given in (taught, logits))
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1).mean()


def attention_loss(student: Tensor, taught: Tensor) -> Tensor:
    """The distance of where two networks look: features N×C×H×W and N×C'×H×W, the channels as many as they like.

    Attention transfer, Zagoruyko and Komodakis 2017, arXiv:1612.03928, equation 2 with p = 2 for one pair of layers:

        ‖Q_S / ‖Q_S‖₂ − Q_T / ‖Q_T‖₂‖   where Q = vec(Σ_c |A_c|²) is the attention map of the activations A

    squared, as in the authors' code, and the mean over images: 0 where the maps are equal up to a factor, and 2 where
    no position is seen by both. The mean over channels is taken for the sum, which the norm makes the same.
    """
    return (_attention(student) - _attention(taught)).square().sum(dim=1).mean()


def _attention(features: Tensor) -> Tensor:
    """N×C×H×W to a unit vector of H·W for each image; zeros give zeros."""
    return F.normalize(features.float().square().mean(dim=1).flatten(1), dim=1, eps=SMALLEST_NORM)


def affinity_loss(student: Tensor, taught: Tensor, cells: int) -> Tensor:
    """The difference of which positions two networks find alike: features N×C×H×W and N×C'×H×W.

    Pair-wise distillation, Liu et al. 2019, arXiv:1903.04197, equation 2:

        1/P² Σ_i Σ_j (a_ij^S − a_ij^T)²   where a_ij = f_iᵀ·f_j / (‖f_i‖₂·‖f_j‖₂)

    is the cosine similarity of the features of positions i and j. The P positions are cells of a grid of at most
    `cells` a side, in which features are averaged; so memory is that of N·P² numbers. The mean over images is taken.
    """
    return (_affinities(student, cells) - _affinities(taught, cells)).square().mean()


def _affinities(features: Tensor, cells: int) -> Tensor:
    """N×C×H×W to N×P×P; a position without features is like no other, nor like itself."""
    height, width = features.shape[-2:]
    pooled = F.adaptive_avg_pool2d(features.float(), (min(height, cells), min(width, cells)))
    units = F.normalize(pooled.flatten(2), dim=1, eps=SMALLEST_NORM)
    return units.transpose(1, 2) @ units
