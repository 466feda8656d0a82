"""Losses of segmentation training, all of them scalars. Logits are N×C×H×W, targets N×H×W int64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
