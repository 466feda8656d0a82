"""Teaching a small feature network: its losses, and that they fall."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from visiondeploy.models.distillation_pictures import drawn_picture
from visiondeploy.models.feature_distillation import (
    Student,
    feature_errors,
    gradient_error,
    gram_errors,
    root_mean_squares,
    style_gradient,
)
from visiondeploy.models.feature_objective import FeatureObjective, FeatureSettings, FeatureWatch
from visiondeploy.models.mobile_features import FIRST, MobileFeatures
from visiondeploy.models.vgg import VGG, vgg16
from visiondeploy.types import Sample


@pytest.fixture(scope="module")
def teacher() -> VGG:
    torch.manual_seed(0)
    return vgg16().eval().requires_grad_(False)


def new_student(teacher: VGG) -> tuple[Student, dict[str, float]]:
    torch.manual_seed(1)
    net = MobileFeatures()
    net.first.load_state_dict(teacher.convolutions[FIRST].state_dict())
    scales = root_mean_squares(teacher, [torch.rand(1, 3, 32, 32)], net.layers)
    return Student(net, scales), scales


def sample(seed: int, size: tuple[int, int] = (40, 56)) -> Sample:
    rng = np.random.default_rng(seed)
    image, painting = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    return Sample(str(seed), image, painting)


def test_no_error_is_found_where_the_student_gives_what_the_teacher_does() -> None:
    before = torch.randn(2, 5, 6, 6)
    taught = {"a": before.relu()}
    assert float(feature_errors({"a": before}, taught)["a"]) == 0
    # Below 0 anything is right.
    assert float(feature_errors({"a": torch.where(before < 0, before * 7, before)}, taught)["a"]) == 0
    assert float(gram_errors({"a": before}, taught)["a"]) == pytest.approx(0, abs=1e-9)
    assert float(feature_errors({"a": before - 1}, taught)["a"]) > 0.1
    assert float(gram_errors({"a": 0 * before}, taught)["a"]) == pytest.approx(1)


def test_a_channel_that_is_shut_where_the_teacher_is_not_still_learns() -> None:
    found = torch.full((1, 1, 2, 2), -1.0, requires_grad=True)
    feature_errors({"a": found}, {"a": torch.ones(1, 1, 2, 2)})["a"].backward()
    assert found.grad is not None
    assert bool((found.grad < 0).all())


def test_gradients_are_compared_by_direction() -> None:
    gradient = torch.randn(2, 3, 8, 8)
    assert float(gradient_error(3 * gradient, gradient)) == pytest.approx(0, abs=1e-5)
    assert float(gradient_error(-gradient, gradient)) == pytest.approx(2, abs=1e-5)


def test_the_style_gradient_is_that_of_the_loss() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 6, 6, dtype=torch.float32, requires_grad=True)

    def loss(pictures: Tensor) -> Tensor:
        flat = (pictures.square()).flatten(2) / (3 * 36) ** 0.5
        grams = flat @ flat.transpose(1, 2)
        wanted = grams_of_images.roll(1, 0)
        return ((grams - wanted).square().sum((1, 2)) / wanted.square().sum((1, 2))).sum()

    flat = images.detach().square().flatten(2) / (3 * 36) ** 0.5
    grams_of_images = flat @ flat.transpose(1, 2)
    (wanted,) = torch.autograd.grad(loss(images), images)
    torch.testing.assert_close(style_gradient({"a": images.square()}, images), wanted)


def test_the_loss_falls(teacher: VGG) -> None:
    student, scales = new_student(teacher)
    objective = FeatureObjective(teacher, scales, FeatureSettings(size=32))
    images = torch.stack([objective.item(sample(seed), seed)[0] for seed in range(2)])
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], 1e-3, weight_decay=0)
    losses = []
    for _ in range(5):
        terms = objective.loss(student, images.clone(), torch.zeros(2))
        terms["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append({name: float(term.detach()) for name, term in terms.items()})
    assert losses[-1]["loss"] < 0.9 * losses[0]["loss"]
    assert set(losses[0]) == {"loss", "features", "grams", "gradients"}
    first = student.net.first.weight
    assert first.grad is None
    assert torch.equal(first, teacher.convolutions[FIRST].weight)


def test_gradients_of_weight_0_are_left_out(teacher: VGG) -> None:
    student, scales = new_student(teacher)
    objective = FeatureObjective(teacher, scales, FeatureSettings(size=32, gradients=0))
    assert set(objective.loss(student, torch.rand(2, 3, 32, 32), torch.zeros(2))) == {"loss", "features", "grams"}


def test_what_training_is_watched_by(teacher: VGG) -> None:
    _, scales = new_student(teacher)
    watch = FeatureWatch(teacher, scales, 32)
    images = torch.from_numpy(watch.preprocess([sample(0)])["image"])
    assert images.shape == (1, 3, 32, 32)
    perfect = {layer: (value / scales[layer]).numpy() for layer, value in teacher(images, tuple(scales)).items()}
    metric = watch.metrics[0]
    assert metric.value(watch.score(perfect, [sample(0)])) == pytest.approx(0)
    nothing = watch.score({layer: np.zeros_like(value) for layer, value in perfect.items()}, [sample(0)])
    assert metric.value(nothing) == pytest.approx(1)
    assert FIRST not in metric.parts(nothing)
    assert watch.truth(sample(0)).shape == watch.picture(sample(0), perfect).shape
    assert np.array_equal(watch.truth(sample(0)), watch.picture(sample(0), perfect))


@pytest.mark.parametrize("size", [(40, 56), (20, 200), (300, 17)])
def test_pictures_depend_on_the_seed_alone_and_are_in_range(size: tuple[int, int]) -> None:
    photograph = sample(1, size)
    for seed in range(25):
        picture = drawn_picture(photograph.image, [photograph.image[::-1]], 32, seed)
        assert picture.shape == (3, 32, 32)
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
        assert torch.equal(picture, drawn_picture(photograph.image, [photograph.image[::-1]], 32, seed))
    assert not torch.equal(drawn_picture(photograph.image, [], 32, 0), drawn_picture(photograph.image, [], 32, 1))
