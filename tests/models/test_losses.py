from __future__ import annotations

import pytest
import torch

from visiondeploy.models.losses import segmentation_loss, soft_dice


def one_hot_logits(target: torch.Tensor, classes: int, confidence: float = 50.0) -> torch.Tensor:
    return torch.nn.functional.one_hot(target, classes).movedim(-1, 1).float() * confidence


def test_a_perfect_prediction_costs_nothing() -> None:
    target = torch.randint(0, 3, (2, 8, 8))
    terms = segmentation_loss(one_hot_logits(target, 3), target, 255, cross_entropy=1.0, dice=1.0)
    assert terms["loss"] < 1e-4


def test_ignored_pixels_change_nothing() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    target[0, 0] = 255
    changed = logits.clone()
    changed[:, :, 0] = torch.randn(1, 3, 4) * 10
    one = segmentation_loss(logits, target, 255, 1.0, 1.0)["loss"]
    assert torch.allclose(one, segmentation_loss(changed, target, 255, 1.0, 1.0)["loss"])


def test_a_mask_that_is_all_ignored_gives_zero_and_no_nan() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), 255), 255, 1.0, 1.0)["loss"]
    loss.backward()
    assert loss == 0
    assert torch.isfinite(logits.grad).all()


def test_dice_of_a_worked_example() -> None:
    """Probabilities ½ everywhere, two pixels of class 0 and two of class 1: 2·1/(2+2) = ½ for each class."""
    loss = soft_dice(torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 0], [1, 1]]]), 255)
    assert loss.item() == pytest.approx(0.5)


def test_weights_scale_their_terms() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    one = segmentation_loss(logits, target, 255, cross_entropy=1.0, dice=0.0)
    two = segmentation_loss(logits, target, 255, cross_entropy=2.0, dice=0.5)
    assert torch.allclose(two["cross_entropy"], 2 * one["cross_entropy"])
    assert torch.allclose(two["loss"], two["cross_entropy"] + two["dice"])
    assert "dice" not in one
