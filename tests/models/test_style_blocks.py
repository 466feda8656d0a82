from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from visiondeploy.models.style_blocks import ConditionalAffine, ConvNorm, Residual, Up, to_colours


@pytest.mark.parametrize("kind", ["nearest", "transposed", "shuffle"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_every_way_up_doubles_the_size(kind, norm) -> None:
    up = Up(8, 4, kind, norm=norm, padding="reflect").eval()
    assert up(torch.randn(2, 8, 5, 7)).shape == (2, 4, 10, 14)


@pytest.mark.parametrize(
    ("padding", "mode"), [("reflect", "reflect"), ("zero", "constant"), ("replicate", "replicate")]
)
def test_borders_are_what_they_are_called(padding, mode) -> None:
    layer = to_colours(4, 3, padding)
    image = torch.randn(1, 4, 6, 5)
    expected = F.conv2d(F.pad(image, (1, 1, 1, 1), mode=mode), layer.weight, layer.bias)
    assert torch.allclose(layer(image), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_a_stride_rounds_up(size) -> None:
    down = ConvNorm(3, 4, stride=2, norm="batch", padding="reflect").eval()
    assert down(torch.randn(1, 3, *size)).shape == (1, 4, -(-size[0] // 2), -(-size[1] // 2))


def test_a_residual_block_adds_to_what_it_reads() -> None:
    block = Residual(4, norm="instance", padding="zero")
    torch.nn.init.zeros_(block.second.norm.weight)
    image = torch.randn(1, 4, 6, 5)
    assert torch.equal(block(image), image)


def test_a_conditional_affine_scales_and_shifts_by_image_and_channel() -> None:
    affine = ConditionalAffine(2, 3)
    torch.nn.init.normal_(affine.scale)
    torch.nn.init.normal_(affine.shift)
    values, weights = torch.randn(2, 3, 4, 5), torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    found = affine(values, weights)
    scale, shift = 0.25 * affine.scale[0] + 0.75 * affine.scale[1], 0.25 * affine.shift[0] + 0.75 * affine.shift[1]
    assert torch.allclose(found[0], values[0] * affine.scale[0][:, None, None] + affine.shift[0][:, None, None])
    assert torch.allclose(found[1], values[1] * scale[:, None, None] + shift[:, None, None], atol=1e-6)


def test_only_where_no_norm_follows_there_is_a_bias() -> None:
    layers = [ConvNorm(3, 4, norm=norm, padding="zero", styles=styles) for norm, styles in (("none", 0), ("none", 2))]
    layers.append(ConvNorm(3, 4, norm="instance", padding="zero"))
    assert [layer.conv.bias is not None for layer in layers] == [True, False, False]
