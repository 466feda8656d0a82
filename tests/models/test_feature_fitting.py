"""A small feature network's weights from a VGG's, without training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from visiondeploy.models.feature_fitting import fit
from visiondeploy.models.mobile_features import FIRST, MobileFeatures
from visiondeploy.models.vgg import VGG, vgg16, vgg16_hed


def pictures(seed: int, count: int = 3) -> list[Tensor]:
    """Batches of smooth pictures."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 2, 3, 12, 12), generator=random)
    return [torch.nn.functional.interpolate(batch, (48, 48), mode="bicubic").clamp(0, 1) for batch in coarse]


@pytest.fixture(scope="module")
def teacher() -> VGG:
    torch.manual_seed(0)
    return vgg16_hed().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def student(teacher: VGG) -> MobileFeatures:
    return fit(teacher, pictures(0), 0, lambda *_: None)


def errors(student: MobileFeatures, teacher: VGG, images: Tensor) -> dict[str, float]:
    found, wanted = student(images, student.layers), teacher(images, student.layers)
    return {
        layer: float((found[layer] - wanted[layer]).square().sum() / wanted[layer].square().sum())
        for layer in student.layers
    }


def test_the_student_gives_nearly_what_the_teacher_does(teacher: VGG, student: MobileFeatures) -> None:
    found = errors(student, teacher, pictures(1)[0])
    torch.manual_seed(1)
    random = MobileFeatures().eval().requires_grad_(False)
    # The very same convolution. In another memory layout some CPUs add its products in another order.
    assert torch.equal(student.first.weight, teacher.convolutions[FIRST].weight)
    assert torch.equal(student.first.bias, teacher.convolutions[FIRST].bias)
    assert found[FIRST] == pytest.approx(0, abs=1e-12)
    assert max(found.values()) < 0.2
    assert max(found.values()) < 0.3 * min(list(errors(random, teacher, pictures(1)[0]).values())[1:])


def test_it_is_frozen_and_the_same_each_time(teacher: VGG, student: MobileFeatures) -> None:
    assert not student.training
    assert not any(parameter.requires_grad for parameter in student.parameters())
    told: list[tuple[int, int]] = []
    again = fit(teacher, pictures(0), 0, lambda done, total, _: told.append((done, total)))
    assert all(torch.equal(one, other) for one, other in zip(student.parameters(), again.parameters(), strict=True))
    assert told == [(number, len(student.blocks)) for number in range(1, len(student.blocks) + 1)]


def test_a_teacher_with_another_normalisation_has_its_first_layer_taken_over() -> None:
    other = vgg16().eval().requires_grad_(False)
    student, images = fit(other, pictures(0, 1), 0, lambda *_: None), pictures(1)[0]
    found, wanted = (net(images, (FIRST,))[FIRST][..., 1:-1, 1:-1] for net in (student, other))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
