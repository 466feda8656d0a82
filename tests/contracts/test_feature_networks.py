"""What holds for every feature network in the table. A newcomer is tested the day it is added."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visiondeploy.errors import EnvironmentMismatch, InputError
from visiondeploy.models import features
from visiondeploy.models.features import FEATURES, WEIGHTS, features_digest, load_features, new_features, weights_folder
from visiondeploy.pipeline.downloading import digest_begins


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No weights anywhere."""
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "SHIPPED", tmp_path / "shipped")
    yield
    load_features.cache_clear()
    features_digest.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_cached():
    load_features.cache_clear()
    features_digest.cache_clear()


@pytest.fixture(scope="class")
def net(request) -> nn.Module:
    torch.manual_seed(0)
    return new_features(request.param).eval()


def convolutions_run(net: nn.Module, images: torch.Tensor, layers: tuple[str, ...]) -> int:
    ran: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_: ran.append(1))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    net(images, layers)
    for hook in hooks:
        hook.remove()
    return len(ran)


@pytest.mark.parametrize("net", FEATURES, indirect=True)
class TestEveryFeatureNetwork:
    def test_its_defaults_are_layers_that_it_has(self, net) -> None:
        assert len({*net.layers}) == len(net.layers)
        assert net.content
        assert net.style
        assert {*net.content, *net.style} <= {*net.layers}

    def test_gives_each_image_its_features_for_any_size(self, net) -> None:
        for size in ((32, 48), (33, 47)):
            found = net(torch.rand(2, 3, *size), net.layers)
            assert [*found] == [*net.layers]
            areas = [layer.shape[2] * layer.shape[3] for layer in found.values()]
            assert areas == sorted(areas, reverse=True)
            assert all(layer.shape[0] == 2 and layer.isfinite().all() for layer in found.values())

    def test_what_is_asked_for_besides_changes_nothing(self, net) -> None:
        images = torch.rand(1, 3, 32, 32)
        before = images.clone()
        alone, all_ = net(images, net.content), net(images, net.layers[::-1])
        assert [*all_] == [*net.layers[::-1]]
        assert all(torch.equal(alone[layer], all_[layer]) for layer in net.content)
        assert torch.equal(images, before)

    def test_computes_nothing_behind_the_last_layer(self, net) -> None:
        images = torch.rand(1, 3, 32, 32)
        counts = [convolutions_run(net, images, net.layers[:end]) for end in range(1, len(net.layers) + 1)]
        assert counts == sorted({*counts})

    def test_a_layer_that_it_does_not_have(self, net) -> None:
        with pytest.raises(KeyError):
            net(torch.rand(1, 3, 32, 32), ("relu9_9",))

    def test_its_gradient_reaches_the_pixels(self, net) -> None:
        images = torch.rand(1, 3, 32, 32, requires_grad=True)
        net(images, net.content)[net.content[0]].square().mean().backward()
        assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("name", FEATURES)
class TestItsWeights:
    @pytest.mark.usefixtures("empty")
    def test_come_back_from_a_file(self, name) -> None:
        net, folder = new_features(name).eval(), weights_folder(name)
        folder.mkdir(parents=True)
        save_file(net.state_dict(), folder / WEIGHTS)
        images, found = torch.rand(1, 3, 32, 32), load_features(name)
        assert torch.equal(found(images, net.content)[net.content[0]], net(images, net.content)[net.content[0]])
        assert not any(parameter.requires_grad for parameter in found.parameters())
        assert not found.training

    @pytest.mark.usefixtures("empty")
    def test_where_there_are_none_the_sentence_says_what_to_do(self, name) -> None:
        shipped = isinstance(FEATURES[name].source, features.Shipped)
        with pytest.raises(EnvironmentMismatch, match="install" if shipped else f"run `deploy weights fetch {name}`"):
            load_features(name)

    @pytest.mark.usefixtures("empty")
    def test_that_are_damaged_are_no_traceback(self, name) -> None:
        folder = weights_folder(name)
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
        with pytest.raises(InputError, match="damaged"):
            load_features(name)

    def test_are_of_a_file_whose_digest_is_known(self, name) -> None:
        source = FEATURES[name].source
        assert source.licence
        assert isinstance(source, features.Shipped) or len(digest_begins(source)) >= 8
