"""A dense convolution as a depthwise and a pointwise one: where that is exact, and what is lost where it is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.compressible import made
from torch import Tensor, nn

from visiondeploy.errors import UsageError
from visiondeploy.models.compression.changes import Between, Separated
from visiondeploy.models.compression.separable import (
    SeparableConv2d,
    decouple,
    replace,
    replaceable,
    residual,
    separate,
)


def dense(seed: int = 0, rank_one: bool = True, **options: object) -> nn.Conv2d:
    """A convolution of eight channels to six; one kernel for each input channel, but for a factor, if `rank_one`."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(8, 6, **{"kernel_size": 3, "padding": 1, **options})
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if rank_one:
            layer.weight.copy_(torch.randn(6, 8, 1, 1, generator=generator) * layer.weight[:1])
    return layer


def separated(layer: nn.Conv2d, between: Between = "none") -> SeparableConv2d:
    module = nn.Sequential(layer).eval()
    separate(module, ["0"], between, "svd")
    found = module[0]
    assert isinstance(found, SeparableConv2d)
    return found


def image(seed: int = 1) -> Tensor:
    return torch.randn(2, 8, 13, 17, generator=torch.Generator().manual_seed(seed))


def joined(depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """The kernel that both compute: out × in × k × k."""
    return pointwise * depthwise.transpose(0, 1)


class TestRankOne:
    """Kernels that a separable convolution can have: it is the same function."""

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"bias": False},
            {"stride": 2},
            {"stride": (1, 2), "padding": (0, 2)},
            {"dilation": 2, "padding": 2},
            {"kernel_size": (1, 5), "padding": (0, 2)},
            {"kernel_size": 4, "padding": 1},
            {"padding": "same"},
            {"padding": "valid"},
            {"padding": "same", "kernel_size": 5, "dilation": (2, 1)},
            *({"padding_mode": mode} for mode in ("reflect", "replicate", "circular")),
            {"padding_mode": "reflect", "padding": (1, 2), "stride": 3},
        ],
        ids=str,
    )
    def test_nothing_is_lost(self, options: dict[str, object]) -> None:
        layer = dense(**options)
        found = separated(layer)
        assert residual(layer.weight) < 1e-6
        with torch.no_grad():
            assert torch.allclose(found(image()), layer(image()), atol=1e-4)
        assert (found.pointwise.bias is None) == (layer.bias is None)
        assert found.depthwise.bias is None

    @pytest.mark.parametrize("between", ["none", "norm", "norm-relu"])
    def test_what_stands_between_begins_as_the_identity(self, between: Between) -> None:
        layer = dense()
        with torch.no_grad():
            found, expected = separated(layer, between)(image()), layer(image())
        assert torch.allclose(found, expected, atol=1e-3) == (between != "norm-relu")

    def test_channels_without_a_kernel_stay_without(self) -> None:
        layer = dense()
        with torch.no_grad():
            layer.weight[:, 3] = 0
        found = separated(layer)
        assert torch.equal(found.depthwise.weight[3], torch.zeros(1, 3, 3))
        with torch.no_grad():
            assert torch.allclose(found(image()), layer(image()), atol=1e-4)


class TestNearest:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.sampled_from([(6, 5, 3, 3), (3, 6, 1, 5), (12, 5, 3, 3)]), st.floats(0, 2))
    def test_no_other_pair_is_nearer(self, seed: int, shape: tuple[int, ...], far: float) -> None:
        """Random pairs, and ones near the pair that was found, each with the factor by channel that suits it best."""
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(shape, generator=generator)
        depthwise, pointwise = decouple(weight)
        lost = ((weight - joined(depthwise, pointwise)) ** 2).sum()
        for start in (0.0, 1.0):
            other = joined(
                start * depthwise + far * torch.randn(depthwise.shape, generator=generator),
                start * pointwise + far * torch.randn(pointwise.shape, generator=generator),
            )
            factor = (weight * other).sum((0, 2, 3)) / (other**2).sum((0, 2, 3)).clamp(min=1e-12)
            assert ((weight - factor[:, None, None] * other) ** 2).sum() >= lost * (1 - 1e-5)
        assert residual(weight) == pytest.approx(float(lost / (weight**2).sum()), rel=1e-4)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_halves_share_the_norm_and_no_kernel_is_negative(self, seed: int) -> None:
        depthwise, pointwise = decouple(torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(seed)))
        assert torch.allclose(depthwise.flatten(1).norm(dim=1), pointwise.flatten(2).norm(dim=0)[:, 0], rtol=1e-4)
        assert (depthwise.sum((1, 2, 3)) >= -1e-6).all()

    def test_a_kernel_of_zeros_loses_nothing(self) -> None:
        assert residual(torch.zeros(4, 5, 3, 3)) == 0
        assert all(torch.equal(half, torch.zeros_like(half)) for half in decouple(torch.zeros(4, 5, 3, 3)))

    def test_half_precision_weights_give_what_they_are(self) -> None:
        weight = dense().weight.detach()
        assert torch.allclose(joined(*decouple(weight.half())), weight.half().float(), atol=1e-2)


class TestWhatIsReplaced:
    @pytest.mark.parametrize(
        "layer",
        [
            nn.Conv2d(3, 16, 3),
            nn.Conv2d(4, 16, 3),
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(16, 16, 3, groups=16),
            nn.Conv2d(16, 16, 3, groups=4),
            nn.Conv2d(16, 1, 3),
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Linear(16, 8),
        ],
        ids=str,
    )
    def test_not_what_reads_the_image_has_groups_or_saves_nothing(self, layer: nn.Module) -> None:
        module = nn.Sequential(layer)
        assert replaceable(module) == ()
        with pytest.raises(UsageError, match="the layer '0' is no dense convolution that a separable one could"):
            replace(module, Separated(layers=("0",)))
        assert module[0] is layer

    @pytest.mark.parametrize("layers", [("nowhere",), ("",), ("0.weight",), ("0", "0")])
    def test_nor_what_is_not_there(self, layers: tuple[str, ...]) -> None:
        with pytest.raises(UsageError, match="is no dense convolution"):
            replace(nn.Sequential(dense()), Separated(layers=layers))

    def test_of_a_unet_all_but_first_and_upsampling_and_head(self) -> None:
        module = made("unet")
        found = replaceable(module)
        assert "encoder.0.0" not in found
        assert found[0] == "encoder.0.3"
        assert len(found) == 9
        separate(module, found, "none", "svd")
        assert replaceable(module) == ()

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("between", ["none", "norm", "norm-relu"])
    def test_what_comes_is_named_and_in_the_mode_of_what_was(self, between: Between, training: bool) -> None:
        module = nn.Sequential(dense()).train(training)
        change = separate(module, ["0"], between, "svd")
        assert change == Separated(layers=("0",), between=between)
        names = {"none": [], "norm": ["norm"], "norm-relu": ["norm", "relu"]}[between]
        assert [name for name, _ in module[0].named_children()] == ["depthwise", *names, "pointwise"]
        assert all(layer.training is training for layer in module.modules())

    def test_random_weights_are_not_those_of_the_kernel(self) -> None:
        module, layer = nn.Sequential(dense()).eval(), dense()
        separate(module, ["0"], "none", "random")
        with torch.no_grad():
            assert not torch.allclose(module(image()), layer(image()), atol=0.1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("between", ["none", "norm", "norm-relu"])
def test_a_separated_network_can_be_scripted(between: Between) -> None:
    module = made("unet", between)
    values = torch.randn(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(module)(values), module(values), atol=1e-5)
