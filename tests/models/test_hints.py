"""Where two networks are compared on the way to their outputs, and how what they give there is caught."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from kit.networks import spec_of
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.hints import Hints, hint_names
from visiondeploy.models.table import NETWORKS, create

IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def unet(**options: int) -> nn.Module:
    return create("unet", {"base_width": 2, **options}, classes=3).eval()


def network(name: str) -> nn.Module:
    return new_network(spec_of(name), seed=0).module.eval()


def hooks_of(module: nn.Module) -> int:
    return sum(len(inner._forward_hooks) for inner in module.modules())


def separate(module: nn.Module, name: str) -> None:
    """Put a depthwise and a pointwise convolution in the place of a convolution."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    depthwise = nn.Conv2d(layer.in_channels, layer.in_channels, 3, layer.stride, padding=1, groups=layer.in_channels)
    replaced = nn.Sequential(depthwise, nn.ReLU(inplace=True), nn.Conv2d(layer.in_channels, layer.out_channels, 1))
    module.set_submodule(name, replaced)


class InPlace(nn.Module):
    """Between the two resolutions a ReLU runs twice, so that no hook of its own can be told from another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(channels, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(image)))
        logits: Tensor = self.head(self.relu(self.second(x)))
        return logits


class TestNames:
    def test_of_a_unet_are_its_levels_on_the_way_down_and_up(self) -> None:
        levels = range(4)
        down, up = (tuple(f"{side}.{level}" for level in levels) for side in ("encoder", "decoder"))
        assert hint_names(unet(depth=4), unet(depth=4)) == (*down, "bottom", *up)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_network_has_some_and_they_give_features_of_several_resolutions(self, name: str) -> None:
        module = network(name)
        names = hint_names(module, module)
        with Hints(module, names) as hints:
            logits = module(IMAGE)
        caught = hints.take()
        assert tuple(caught) == names
        assert len({tensor.shape[2:] for tensor in caught.values()}) >= 3
        for tensor in caught.values():
            assert tensor.ndim == 4
            assert tensor.shape[2:].numel() > 1
            assert tensor.shape[1] != logits.shape[1]

    @pytest.mark.parametrize("name", NETWORKS)
    def test_are_the_same_after_a_convolution_was_replaced_by_several(self, name: str) -> None:
        teacher = network(name)
        student = copy.deepcopy(teacher)
        for inner, layer in teacher.named_modules():
            # dilated ones are left: the replacement of this test is not
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) and layer.dilation == (1, 1):
                separate(student, inner)
        assert student.state_dict().keys() != teacher.state_dict().keys()
        assert hint_names(student, teacher) == hint_names(teacher, teacher)

    def test_do_not_depend_on_the_number_of_channels(self) -> None:
        narrow, wide = unet(depth=2), create("unet", {"base_width": 8, "depth": 2}, classes=3)
        assert hint_names(narrow, wide) == hint_names(wide, wide)

    def test_are_those_that_both_networks_have_at_one_resolution(self) -> None:
        """`bottom` of the flat one is at the resolution of the deep one's second level."""
        assert hint_names(unet(depth=1), unet(depth=2)) == ("encoder.0",)
        assert hint_names(nn.Sequential(nn.Conv2d(3, 3, 1)), unet(depth=1)) == ()

    def test_leave_out_a_head_of_several_layers(self) -> None:
        head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Upsample(scale_factor=2))
        module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), head)
        assert hint_names(module, module) == ("1.1",)

    def test_leave_the_networks_as_they_are(self) -> None:
        module = unet(depth=1).train()
        before = copy.deepcopy(module.state_dict())
        hint_names(module, module)
        assert module.training
        assert hooks_of(module) == 0
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class TestHints:
    def test_change_nothing_of_what_the_network_gives(self) -> None:
        module = unet(depth=2)
        with Hints(module, hint_names(module, module)):
            hooked = module(IMAGE)
        assert torch.equal(hooked, module(IMAGE))

    @pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
    @pytest.mark.parametrize("name", NETWORKS)
    def test_are_gone_afterwards_for_all_who_copy_average_trace_or_store(self, name: str) -> None:
        module = network(name)
        hints = Hints(module, hint_names(module, module))
        with pytest.raises(RuntimeError), hints:
            module(torch.randn(1, 5, 8, 8))
        with hints:
            expected = module(IMAGE)
        assert hooks_of(module) == 0
        others = [copy.deepcopy(module), AveragedModel(module).module, pickle.loads(pickle.dumps(module))]
        others.append(torch.jit.trace(module, IMAGE))
        for other in others:
            hints.take()
            with torch.no_grad():
                assert torch.equal(other(IMAGE), expected)
            with pytest.raises(ValueError, match="did not run"):
                hints.take()
            with hints:
                module(IMAGE)

    def test_a_tensor_that_is_changed_in_place_is_what_it_was_changed_to(self) -> None:
        module = InPlace(4)
        names = hint_names(module, module)
        assert names == ("norm", "second")
        with Hints(module, names) as hints:
            logits = module(IMAGE)
        caught = hints.take()
        assert all((tensor >= 0).all() for tensor in caught.values())
        # Gradients go the way of the values: behind the ReLU.
        wanted = torch.autograd.grad(caught["second"].square().sum(), module.second.bias, retain_graph=True)[0]
        assert torch.allclose(wanted, 2 * caught["second"].detach().sum(dim=(0, 2, 3)), rtol=1e-4)
        logits.sum().backward()

    def test_of_a_unet_are_behind_its_activations(self) -> None:
        module = unet(depth=2)
        with Hints(module, hint_names(module, module)) as hints:
            module(IMAGE)
        assert all((tensor >= 0).all() and (tensor == 0).any() for tensor in hints.take().values())

    def test_what_is_run_may_be_wrapped_around_the_network(self) -> None:
        module = unet(depth=1)
        with Hints(module, ("bottom",)) as hints:
            nn.Sequential(module)(IMAGE)
        assert hints.take()["bottom"].shape == (2, 4, 32, 32)

    def test_nothing_is_kept_once_it_was_taken(self) -> None:
        module = unet(depth=1)
        with Hints(module, ("bottom",)) as hints:
            module(IMAGE)
        hints.take()
        with pytest.raises(ValueError, match="bottom did not run: what was run is not the network"):
            hints.take()
