from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from visiondeploy.models.style_blocks import ConditionalAffine
from visiondeploy.models.style_multi import StyleMulti
from visiondeploy.models.table import create
from visiondeploy.pipeline.stages.export import quiet

STYLES = 3


@pytest.fixture
def module() -> StyleMulti:
    """Styles that differ, as after training."""
    torch.manual_seed(0)
    made = create("style-multi", {"width": 4, "blocks": 1}, STYLES).eval()
    for layer in made.modules():
        if isinstance(layer, ConditionalAffine):
            torch.nn.init.uniform_(layer.scale, 0.5, 1.5)
            torch.nn.init.normal_(layer.shift, 0, 0.3)
    return made


def image(count: int = 1, size: tuple[int, int] = (20, 24)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def weights(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows)


def test_of_each_style_there_is_a_scale_and_a_shift_for_each_channel() -> None:
    with torch.device("meta"):
        one, four = (create("style-multi", {}, styles) for styles in (1, 4))
    counts = [sum(parameter.numel() for parameter in made.parameters()) for made in (one, four)]
    assert counts[1] - counts[0] == 3 * 3_200


def test_a_style_is_its_scales_and_shifts(module: StyleMulti) -> None:
    """The network without the others gives the same."""
    for style in range(STYLES):
        alone = copy.deepcopy(module)
        for layer in alone.modules():
            if isinstance(layer, ConditionalAffine):
                layer.scale.data, layer.shift.data = layer.scale[style : style + 1], layer.shift[style : style + 1]
        one_hot = torch.eye(STYLES)[style : style + 1]
        assert torch.allclose(module(image(), one_hot), alone(image(), torch.ones(1, 1)), atol=1e-5)


@pytest.mark.parametrize("blend", [(0.5, 0.5, 0.0), (0.2, 0.3, 0.5)])
def test_a_blend_has_the_blend_of_scales_and_shifts(module: StyleMulti, blend) -> None:
    alone = copy.deepcopy(module)
    for layer in alone.modules():
        if isinstance(layer, ConditionalAffine):
            for values in (layer.scale, layer.shift):
                values.data = (values * torch.tensor(blend)[:, None]).sum(dim=0, keepdim=True)
    found = module(image(), weights(blend))
    assert torch.allclose(found, alone(image(), torch.ones(1, 1)), atol=1e-5)
    # It is no blend of pictures.
    pictures = torch.cat([module(image(), torch.eye(STYLES)[style : style + 1]) for style in range(STYLES)])
    assert not torch.allclose(found, (pictures * torch.tensor(blend)[:, None, None, None]).sum(0), atol=1e-2)


def test_each_image_of_a_batch_has_a_style_of_its_own(module: StyleMulti) -> None:
    rows = weights((1, 0, 0), (0, 0, 1), (0.5, 0.5, 0))
    together = module(image(3), rows)
    apart = torch.cat([module(image(3)[n : n + 1], rows[n : n + 1]) for n in range(3)])
    assert torch.allclose(together, apart, atol=1e-5)


def test_without_weights_all_styles_count_alike(module: StyleMulti) -> None:
    assert torch.equal(module(image(2)), module(image(2), torch.full((2, STYLES), 1 / STYLES)))


def test_to_begin_with_all_styles_are_one() -> None:
    made = create("style-multi", {"width": 4, "blocks": 1}, 2).eval()
    assert torch.equal(made(image(), weights((1, 0))), made(image(), weights((0, 1))))


@pytest.mark.parametrize("size", [(16, 16), (33, 21)])
def test_any_size_also_as_torchscript(module: StyleMulti, size) -> None:
    rows = weights((0, 1, 0))
    found = module(image(1, size), rows)
    assert found.shape == (1, 3, *size)
    with quiet():
        scripted = torch.jit.script(module)
    assert torch.allclose(scripted(image(1, size), rows), found, atol=1e-6)
