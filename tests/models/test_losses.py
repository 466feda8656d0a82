from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visiondeploy.models.losses import affinity_loss, attention_loss, segmentation_loss, soft_dice


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


def affinity(student: Tensor, taught: Tensor) -> Tensor:
    return affinity_loss(student, taught, cells=4)


def noise(seed: int, channels: int = 6, images: int = 2) -> Tensor:
    return torch.randn(images, channels, 4, 5, generator=torch.Generator().manual_seed(seed))


FEATURE_LOSSES = pytest.mark.parametrize("loss", [attention_loss, affinity])
Loss = Callable[[Tensor, Tensor], Tensor]


@FEATURE_LOSSES
class TestLossesOfFeatures:
    @given(seed=st.integers(0, 1000), order=st.permutations(range(6)), scale=st.floats(0.1, 100))
    def test_the_order_of_channels_and_the_scale_change_nothing(
        self, loss: Loss, seed: int, order: list[int], scale: float
    ) -> None:
        features = noise(seed)
        assert float(loss(scale * features[:, order], features)) == pytest.approx(0, abs=1e-6)

    @given(seed=st.integers(0, 1000), channels=st.integers(1, 9), times=st.integers(2, 4))
    def test_channels_that_are_there_several_times_change_nothing(
        self, loss: Loss, seed: int, channels: int, times: int
    ) -> None:
        student, taught = noise(seed, channels), noise(seed + 1)
        expected = float(loss(student, taught))
        assert expected > 0
        assert float(loss(student.repeat(1, times, 1, 1), taught)) == pytest.approx(expected, rel=1e-3)

    def test_is_the_mean_over_images(self, loss: Loss) -> None:
        student, taught = noise(0, images=2), noise(1, images=2)
        alone = [float(loss(student[i : i + 1], taught[i : i + 1])) for i in range(2)]
        assert float(loss(student, taught)) == pytest.approx(sum(alone) / 2, rel=1e-4)

    @pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-9])
    def test_features_that_are_next_to_nothing_give_small_gradients_and_no_nan(self, loss: Loss, tiny: float) -> None:
        student = (tiny * noise(0)).requires_grad_()
        found = loss(student, noise(1))
        found.backward()
        assert torch.isfinite(found)
        assert student.grad.abs().max() < 1e4
        assert torch.equal(loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)), torch.tensor(0.0))

    def test_half_precision_does_not_overflow(self, loss: Loss) -> None:
        student, taught = 1000 * noise(0), noise(1)
        assert float(loss(student.half(), taught.half())) == pytest.approx(float(loss(student, taught)), rel=0.01)

    def test_a_map_of_one_position_is_no_matter(self, loss: Loss) -> None:
        assert float(loss(noise(0)[..., :1, :1], noise(1)[..., :1, :1])) == pytest.approx(0, abs=1e-6)


def test_attention_of_a_worked_example() -> None:
    """Squares 9 and 16 of two positions give the map (9, 16)/√337; the other looks at the second alone: 2 − 2·16/√337.

    A second channel of zeros is no matter.
    """
    student = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    assert float(attention_loss(student, torch.tensor([0.0, 7.0]).view(1, 1, 1, 2))) == pytest.approx(
        2 - 2 * 16 / 337**0.5
    )


def test_attention_of_positions_that_only_one_looks_at_is_two() -> None:
    assert float(attention_loss(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 5.0]]]]))) == pytest.approx(2)


def test_affinity_of_a_worked_example() -> None:
    """Features (1, 0) and (1, 1) have cosine 1/√2, those of the other are opposite: two of four pairs differ."""
    student = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    taught = torch.tensor([2.0, -3.0]).view(1, 1, 1, 2)
    assert float(affinity_loss(student, taught, cells=8)) == pytest.approx(2 * (0.5**0.5 + 1) ** 2 / 4)


def test_affinity_is_that_of_cells_in_which_features_are_averaged() -> None:
    student, taught = (torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    coarse = [torch.nn.functional.avg_pool2d(features, (4, 6)) for features in (student, taught)]
    assert float(affinity_loss(student, taught, cells=2)) == pytest.approx(float(affinity_loss(*coarse, cells=2)))
