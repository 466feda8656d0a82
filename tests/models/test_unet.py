from __future__ import annotations

import pytest
import torch

from visiondeploy.errors import UsageError
from visiondeploy.models.table import create
from visiondeploy.models.unet import UNet, UNetSettings


def test_the_network_of_the_paper_has_31_million_parameters() -> None:
    with torch.device("meta"):
        module = UNet(UNetSettings(base_width=64, depth=4), classes=2)
    assert sum(parameter.numel() for parameter in module.parameters()) == pytest.approx(31.04e6, rel=0.001)


def test_separable_convolutions_take_a_fifth_of_the_parameters() -> None:
    with torch.device("meta"):
        sizes = [
            sum(parameter.numel() for parameter in UNet(UNetSettings(separable=separable), classes=2).parameters())
            for separable in (False, True)
        ]
    assert sizes[1] == pytest.approx(6.0e6, rel=0.01)
    assert sizes[1] < sizes[0] / 5


def test_a_separable_network_reads_the_image_with_a_dense_convolution() -> None:
    module = create("unet", {"base_width": 4, "depth": 1, "separable": True}, classes=5).eval()
    groups = [layer.groups for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert groups[0] == 1
    assert module(torch.randn(1, 3, 20, 28)).shape == (1, 5, 20, 28)


@pytest.mark.parametrize("up", ["transpose", "bilinear", "nearest"])
@pytest.mark.parametrize("depth", [1, 3])
def test_each_kind_of_up_sampling_works_at_each_depth(up: str, depth: int) -> None:
    module = create("unet", {"base_width": 4, "depth": depth, "up": up}, classes=5).eval()
    assert module(torch.randn(1, 3, 20, 28)).shape == (1, 5, 20, 28)


def test_padding_is_cropped_back_without_a_shift() -> None:
    """Away from the added border, the logits of a padded image are those of the larger image that it was cut from."""
    torch.manual_seed(0)
    module = UNet(UNetSettings(base_width=4, depth=1), classes=3).eval()
    image = torch.randn(1, 3, 32, 32)
    whole, cut = module(image), module(image[..., :31, :29])
    assert torch.allclose(whole[..., :20, :20], cut[..., :20, :20], atol=1e-5)


def test_an_unknown_up_sampling_names_the_field() -> None:
    with pytest.raises(UsageError, match=r"model.options of network 'unet': up = 'cubic'"):
        create("unet", {"up": "cubic"}, classes=2)
