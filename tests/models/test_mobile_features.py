"""The small feature network: it stands where VGG stands."""

from __future__ import annotations

import pytest
import torch

from visiondeploy.models.features import load_features, weights_folder
from visiondeploy.models.mobile_features import MobileFeatures, build
from visiondeploy.models.vgg import vgg16


@pytest.mark.parametrize("size", [(32, 48), (37, 53), (16, 16)])
def test_layers_have_the_names_channels_and_sizes_of_vgg(size: tuple[int, int]) -> None:
    net, vgg = build().eval(), vgg16().eval()
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        found, wanted = net(images, net.layers), vgg(images, net.layers)
    assert net.content == vgg.content
    assert net.style == vgg.style
    assert list(found) == list(net.layers)
    assert {layer: value.shape for layer, value in found.items()} == {k: v.shape for k, v in wanted.items()}
    assert all(bool((value >= 0).all()) for value in found.values())


def test_layers_come_in_the_order_in_which_they_were_asked_for() -> None:
    net = build().eval()
    assert list(net(torch.rand(1, 3, 32, 32), ("relu4_2", "relu1_1"))) == ["relu4_2", "relu1_1"]
    with pytest.raises(KeyError, match="relu9_9"):
        net(torch.rand(1, 3, 32, 32), ("relu9_9",))


@pytest.mark.parametrize("last", MobileFeatures().layers)
def test_nothing_behind_the_last_layer_is_computed(last: str) -> None:
    net = build().eval()
    ran: list[str] = []
    for layer, block in net.blocks.items():
        block.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    net(torch.rand(1, 3, 32, 32), (last,))
    place = net.layers.index(last)
    assert ran == list(net.layers[1 : place + 1])


def test_an_image_moved_by_the_largest_stride_moves_its_features() -> None:
    torch.manual_seed(0)
    net = build().eval()
    images = torch.rand(1, 3, 160, 192)
    with torch.no_grad():
        one = net(images[..., :160], ("relu5_1",))["relu5_1"]
        other = net(images[..., 16:176], ("relu5_1",))["relu5_1"]
    # In the middle, where neither sees a border.
    torch.testing.assert_close(one[..., 4:6, 5:7], other[..., 4:6, 4:6], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not weights_folder("mobilenet").is_dir(), reason="the weights are not here")
def test_the_weights_that_ship_give_the_same_features_each_time_and_learn_nothing() -> None:
    net = load_features("mobilenet")
    assert isinstance(net, MobileFeatures)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    images = torch.linspace(0, 1, 3 * 48 * 48).view(1, 3, 48, 48).requires_grad_(True)
    first, second = net(images, net.layers), net(images, net.layers)
    for layer, value in first.items():
        assert torch.equal(value, second[layer])
        assert float(value.detach().mean()) > 0
    first["relu5_1"].mean().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
