"""What is minimised: every distance has the same pull, and no picture is looked at twice."""

from __future__ import annotations

import pytest
import torch
from kit.features import LAYERS, TinyFeatures
from torch import Tensor

from visiondeploy.errors import UsageError
from visiondeploy.models.gatys_loss import GatysLoss
from visiondeploy.models.gatys_settings import GatysSettings


def noise(seed: int, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


PHOTO, PAINTING = noise(0), 0.7 * noise(1, 40, 20)


class Scaled(TinyFeatures):
    """A network whose layers look at pictures through a gain of their own."""

    def __init__(self, gains: dict[str, float]) -> None:
        super().__init__()
        self.gains = gains
        self.calls = 0

    def forward(self, images, layers):
        self.calls += 1
        return {layer: self.gains.get(layer, 1.0) * found for layer, found in super().forward(images, layers).items()}


def loss_of(picture: Tensor, net: TinyFeatures | None = None, **weights: float) -> GatysLoss:
    return GatysLoss(net or TinyFeatures(), picture, PHOTO, PAINTING, GatysSettings(**weights))


def pull(picture: Tensor, **weights: float) -> tuple[float, dict[str, float]]:
    """The norm of the gradient at a picture, and the distances there."""
    picture = picture.clone().requires_grad_()
    loss = loss_of(picture, **weights)
    loss()
    return float(picture.grad.norm()), loss.terms


def between() -> Tensor:
    resized = torch.nn.functional.interpolate(PAINTING, PHOTO.shape[2:], mode="bilinear", antialias=True)
    return (PHOTO + resized) / 2


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_pull_as_hard_as_they_are_far_between_photograph_and_painting(layer) -> None:
    """The gradient of a distance d, divided by its slope, has the norm 2·√d·√P."""
    norm, found = pull(between(), style_layers=(layer,), content_weight=0.0, style_weight=1.0, variation_weight=0.0)
    assert norm == pytest.approx(2 * (found["style"] * PHOTO.numel()) ** 0.5, rel=1e-3)


def test_so_does_the_content() -> None:
    norm, found = pull(between(), content_weight=1.0, style_weight=0.0, variation_weight=0.0)
    assert norm == pytest.approx(2 * (found["content"] * PHOTO.numel()) ** 0.5, rel=1e-3)


def test_a_layer_that_answers_louder_changes_nothing() -> None:
    picture = noise(2).requires_grad_()
    plain = loss_of(picture)()
    loud = loss_of(picture, Scaled({"relu1_1": 100.0, "relu2_1": 0.01}))()
    assert float(loud) == pytest.approx(float(plain), rel=1e-3)


def test_the_gradient_is_that_of_the_loss() -> None:
    picture = noise(2).requires_grad_()
    loss = loss_of(picture)
    before = loss()
    step = 1e-3 * torch.nn.functional.normalize(picture.grad.flatten(), dim=0).view_as(picture)
    expected = float((picture.grad * step).sum())
    with torch.no_grad():
        picture += step
    assert float(loss() - before) == pytest.approx(expected, rel=0.05)


def test_a_picture_that_did_not_change_is_not_looked_at_again() -> None:
    net = Scaled({})
    picture = noise(2).requires_grad_()
    loss = loss_of(picture, net)
    calls = net.calls
    first, kept = loss(), picture.grad.clone()
    assert float(loss()) == float(first)
    assert net.calls == calls + 1
    assert torch.equal(picture.grad, kept)
    with torch.no_grad():
        picture += 1e-3
    assert float(loss()) != float(first)
    assert net.calls == calls + 2


def test_what_is_seen_does_not_end_at_the_edges_of_the_picture() -> None:
    """A network that answers to zeros around a picture of one colour, but not to the colour: here it sees none."""

    class Edges(TinyFeatures):
        def forward(self, images, layers):
            inside = torch.ones_like(images[:, :1])
            zeros = 9 - torch.nn.functional.conv2d(inside, torch.ones(1, 1, 3, 3), padding=1)
            return {layer: torch.cat([1 + 0 * images[:, :1], zeros], dim=1) for layer in layers}

    found = loss_of(noise(2).requires_grad_(), Edges())._seen(PHOTO, LAYERS)
    for features in found.values():
        assert features.shape == (1, 2, 24, 32)
        assert not features[:, 1].any()


def test_a_photograph_that_is_the_painting_has_distances_without_slopes() -> None:
    picture = noise(2).requires_grad_()
    loss = GatysLoss(TinyFeatures(), picture, PHOTO, PHOTO, GatysSettings())
    assert torch.isfinite(loss())
    assert torch.isfinite(picture.grad).all()


def test_a_loss_that_is_no_number_is_named() -> None:
    picture = torch.full((1, 3, 24, 32), torch.nan).requires_grad_()
    with pytest.raises(UsageError, match=r"the loss is nan \(content nan style nan\): choose lower weights"):
        loss_of(picture)()
