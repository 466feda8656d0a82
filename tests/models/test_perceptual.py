"""Distances as a feature network sees them: of worked examples, and what holds for all pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.features import LAYERS, TinyFeatures
from torch import Tensor

from visiondeploy.models.perceptual import content_loss, gram, style_grams, style_loss, style_losses, total_variation

NET = TinyFeatures()
SEEDS = st.integers(0, 2**31)
Distance = Callable[[Tensor, Tensor], Tensor]


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def of_style(images: Tensor, wanted: Tensor) -> Tensor:
    return style_loss(NET(images, LAYERS), style_grams(NET, wanted, LAYERS))


def of_content(images: Tensor, wanted: Tensor) -> Tensor:
    return content_loss(NET(images, LAYERS), NET(wanted, NET.content))


def of_style_layer(layer: str) -> Distance:
    return lambda images, wanted: style_losses(NET(images, LAYERS), style_grams(NET, wanted, LAYERS))[layer]


DISTANCES: dict[str, Distance] = {
    "style": of_style,
    "content": of_content,
    **{f"style of {layer}": of_style_layer(layer) for layer in LAYERS},
}


class TestGram:
    def test_of_a_worked_example(self) -> None:
        """Channels (1, 2) and (3, 0) at two positions: products 5, 3 and 9, divided by C·H·W = 4."""
        features = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)
        assert torch.allclose(gram(features), torch.tensor([[[5.0, 3.0], [3.0, 9.0]]]) / 4)

    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.floats(1e-3, 1e3), SEEDS)
    def test_is_symmetric_and_positive_semidefinite(self, n, c, h, w, scale, seed) -> None:
        found = gram(scale * (noise(seed, n, c, h, w) - 0.5))
        assert found.shape == (n, c, c)
        rounding = 1e-5 * found.abs().amax(dim=(1, 2))
        assert ((found - found.transpose(1, 2)).abs().amax(dim=(1, 2)) <= rounding).all()
        assert (torch.linalg.eigvalsh(found)[:, 0] >= -rounding).all()

    def test_does_not_know_where_in_the_picture_something_is(self) -> None:
        features = noise(0, 2, 5, 6, 7)
        shuffled = features.flatten(2)[..., torch.randperm(42, generator=torch.Generator().manual_seed(0))]
        assert torch.allclose(gram(features), gram(shuffled.view_as(features)), rtol=1e-5)

    def test_half_precision_does_not_overflow(self) -> None:
        features = 1000 * noise(0, 1, 4, 32, 32)
        assert torch.allclose(gram(features.half()), gram(features), rtol=0.01)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
class TestDistances:
    def test_is_nothing_for_the_picture_itself(self, distance) -> None:
        picture = noise(0, 1, 3, 24, 32)
        assert float(distance(picture, picture)) == pytest.approx(0, abs=1e-10)

    @settings(deadline=None, max_examples=15)
    @given(seed=SEEDS, images=st.integers(1, 3))
    def test_is_a_number_for_each_image_that_hangs_on_no_other(self, distance, seed, images) -> None:
        pictures, wanted = noise(seed, images, 3, 16, 24), noise(seed + 1, images, 3, 16, 24)
        found = distance(pictures, wanted)
        alone = [distance(pictures[i : i + 1], wanted[i : i + 1]) for i in range(images)]
        assert found.shape == (images,)
        assert (found > 0).all()
        assert torch.allclose(found, torch.cat(alone), rtol=1e-4)

    def test_one_that_is_wanted_serves_all_images(self, distance) -> None:
        pictures, wanted = noise(0, 3, 3, 16, 24), noise(1, 1, 3, 16, 24)
        expected = distance(pictures, wanted.expand(3, -1, -1, -1))
        assert torch.allclose(distance(pictures, wanted), expected, rtol=1e-4)

    def test_has_a_gradient_that_leads_to_what_is_wanted(self, distance) -> None:
        wanted = noise(0, 1, 3, 16, 16)
        picture = noise(1, 1, 3, 16, 16).requires_grad_()
        before = distance(picture, wanted)
        before.sum().backward()
        assert torch.isfinite(picture.grad).all()
        after = picture.detach() - 1e-2 * before.sum().detach() / picture.grad.square().sum() * picture.grad
        assert float(distance(after, wanted)) < float(before.detach())


def test_styles_of_pictures_of_other_sizes_have_the_same_distance_in_expectation() -> None:
    """The same kind of noise, small and large: what is left is chance, far below the distance to another kind."""
    small, large = noise(0, 1, 3, 48, 48), noise(1, 1, 3, 192, 144)
    other = noise(2, 1, 3, 96, 96) * 0.5
    assert float(of_style(small, large)) < 0.02 * float(of_style(other, large))
    assert float(of_style(other, small)) == pytest.approx(float(of_style(other, large)), rel=0.1)


@pytest.mark.parametrize("scale", [0.1, 100.0])
def test_style_and_content_do_not_change_with_the_scale_of_the_features(scale: float) -> None:
    found, wanted = (NET(noise(seed, 1, 3, 16, 16), LAYERS) for seed in range(2))
    scaled = [{layer: scale * features for layer, features in each.items()} for each in (found, wanted)]
    grams = [{layer: gram(features) for layer, features in each.items()} for each in (wanted, scaled[1])]
    assert torch.allclose(style_loss(scaled[0], grams[1]), style_loss(found, grams[0]), rtol=1e-4)
    assert torch.allclose(content_loss(*scaled), content_loss(found, wanted), rtol=1e-4)


def test_without_any_features_style_and_content_are_one() -> None:
    wanted = NET(noise(0, 1, 3, 16, 16), LAYERS)
    nothing = {layer: torch.zeros_like(features) for layer, features in wanted.items()}
    grams = {layer: gram(features) for layer, features in wanted.items()}
    assert float(style_loss(nothing, grams)) == pytest.approx(1)
    assert float(content_loss(nothing, wanted)) == pytest.approx(1)


def test_a_layer_that_gives_nothing_for_what_is_wanted_gives_no_nan() -> None:
    nothing = {"relu1_1": torch.zeros(1, 2, 4, 4)}
    grams = {"relu1_1": torch.zeros(1, 2, 2)}
    assert float(style_loss(nothing, grams)) == 0
    assert float(content_loss(nothing, nothing)) == 0
    assert torch.isfinite(style_loss({"relu1_1": torch.ones(1, 2, 4, 4)}, grams)).all()


class TestTotalVariation:
    def test_of_a_worked_example(self) -> None:
        """Down one column the steps are 1 and 1, across the rows 2 and 0: (1 + 1)/2 + (4 + 0)/2 of two each."""
        picture = torch.tensor([[[[0.0, 2.0], [1.0, 1.0]]]])
        assert float(total_variation(picture)) == pytest.approx((1 + 1) / 2 + (4 + 0) / 2)

    def test_is_a_number_for_each_image(self) -> None:
        pictures = torch.stack([noise(0, 3, 8, 9), torch.full((3, 8, 9), 0.3), 2 * noise(0, 3, 8, 9)])
        found = total_variation(pictures)
        assert found.shape == (3,)
        assert float(found[1]) == pytest.approx(0, abs=1e-12)
        assert float(found[2]) == pytest.approx(4 * float(found[0]))

    def test_does_not_depend_on_the_size_in_expectation(self) -> None:
        small, large = (float(total_variation(noise(side, 1, 3, side, side))) for side in (64, 256))
        assert small == pytest.approx(large, rel=0.05)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
    def test_of_a_single_row_or_column_is_a_number(self, shape) -> None:
        assert torch.isfinite(total_variation(noise(0, 1, 3, *shape))).all()


class TestGradientOfGramMatrices:
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_is_that_of_the_plain_product(self, layout) -> None:
        features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
        weight = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))
        one, other = (features.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
        flat = other.flatten(2)
        (gram(one) * weight).sum().backward()
        (flat @ flat.transpose(1, 2) / (3 * 4 * 5) * weight).sum().backward()
        torch.testing.assert_close(one.grad, other.grad)

    def test_has_a_gradient_of_its_own(self) -> None:
        features = torch.randn(1, 2, 2, 3, dtype=torch.float32, requires_grad=True)
        (first,) = torch.autograd.grad(gram(features).square().sum(), features, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), features)
        assert second.abs().sum() > 0

    def test_in_half_precision_is_computed_in_single(self) -> None:
        features = torch.full((1, 2, 64, 64), 300.0)
        with torch.autocast("cpu", dtype=torch.float16):
            found = gram(features.half())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, torch.full((1, 2, 2), 300.0**2 / 2))
