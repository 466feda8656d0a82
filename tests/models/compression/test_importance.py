"""What is ranked last, and what of the images is looked at."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from kit.compressible import conv, image, made, small
from torch import Tensor, nn

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.compression.changes import Pruned
from visiondeploy.models.compression.criteria import IMPORTANCES
from visiondeploy.models.compression.dependencies import Dependencies
from visiondeploy.models.compression.importance import importance
from visiondeploy.models.compression.settings import CompressSettings
from visiondeploy.models.compression.steps import remove_channels, set_statistics
from visiondeploy.models.compression.structure import Parameters

SIZE = (16, 16)
Batches = Sequence[tuple[Tensor, Tensor]]


def batches(count: int, size: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    return [
        (torch.randn(size, 3, *SIZE, generator=generator), torch.randint(0, 3, (size, *SIZE), generator=generator))
        for _ in range(count)
    ]


def loss(module: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    return nn.functional.cross_entropy(module(images), masks)


def chain() -> nn.Module:
    return small(
        lambda m, x: m.c(m.norm2(m.b(m.norm1(m.a(x)).relu())).relu()),
        a=conv(3, 8),
        norm1=nn.BatchNorm2d(8),
        b=conv(8, 6),
        norm2=nn.BatchNorm2d(6),
        c=conv(6, 3),
    )


def silence(module: nn.Module, root: str, norm: str, reader: str, channels: list[int]) -> None:
    """Set all weights to zero that make, norm and read these channels."""
    with torch.no_grad():
        for name in (root, norm):
            for parameter in module.get_submodule(name).parameters():
                parameter[channels] = 0
        module.get_submodule(reader).weight[:, channels] = 0


@pytest.mark.parametrize("name", IMPORTANCES)
class TestEveryCriterion:
    def test_gives_a_score_for_each_unit(self, name: str) -> None:
        module = made("unet separable")
        found = importance(module, name, batches(2), loss)
        couplings = {c.root: len(c.units) for c in Dependencies(module).couplings()}
        assert {root: len(scores) for root, scores in found.items()} == couplings
        assert all((scores >= 0).all() and np.isfinite(scores).all() for scores in found.values())
        assert all(np.ptp(scores) > 0 for scores in found.values() if len(scores) > 1) or name == "bn-scale"

    def test_what_is_nothing_comes_last(self, name: str) -> None:
        module = chain()
        silence(module, "a", "norm1", "b", [2, 5])
        silence(module, "b", "norm2", "c", [0])
        found = importance(module, name, batches(3), loss)
        assert set(np.argsort(found["a"])[:2]) == {2, 5}
        assert np.argsort(found["b"])[0] == 0
        assert found["a"][2] == found["b"][0] == 0

    def test_and_is_what_is_removed(self, name: str) -> None:
        module = chain()
        silence(module, "a", "norm1", "b", [2, 5])
        silence(module, "b", "norm2", "c", [0])
        values = image(SIZE)
        with torch.no_grad():
            expected = module(values)
            whole = sum(parameter.numel() for parameter in module.parameters())
            settings = CompressSettings(prune=0.5, importance=name)
            # As much as the three silent ones have: one less of the others would do.
            gone = 2 * (3 * 9 + 1 + 2 + 6 * 9) + (6 * 9 + 1 + 2 + 3 * 9)
        change = remove_channels(
            module,
            SIZE,
            settings,
            Parameters(),
            whole - gone,
            1,
            [] if name in {"magnitude", "bn-scale"} else batches(2),
            loss,
        )
        assert change == Pruned(removed={"a": (2, 5), "b": (0,)})
        with torch.no_grad():
            assert torch.allclose(module(values), expected, atol=1e-5)

    def test_leaves_no_gradients_and_the_weights(self, name: str) -> None:
        module = chain()
        before = copy.deepcopy(module.state_dict())
        importance(module, name, batches(2), loss)
        assert all(parameter.grad is None for parameter in module.parameters())
        after = module.state_dict()
        assert all(torch.equal(after[key], tensor) for key, tensor in before.items())

    def test_is_the_same_each_time(self, name: str) -> None:
        one, same = (importance(chain(), name, batches(2), loss) for _ in range(2))
        assert all(np.array_equal(one[root], same[root]) for root in one)

    def test_weights_that_are_no_numbers_are_said(self, name: str) -> None:
        module = chain()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.view(-1)[0] = torch.nan
        with pytest.raises(
            InputError, match=r"the importance of channels of '[ab]' is not finite: look at the weights"
        ):
            importance(module, name, batches(1), loss)


class TestGradients:
    """The criteria that look at images."""

    NAMES = tuple(name for name, criterion in IMPORTANCES.items() if criterion.gradients)

    @pytest.mark.parametrize("name", NAMES)
    def test_every_image_counts(self, name: str) -> None:
        """Not the last one alone."""
        three = batches(3)
        found = importance(chain(), name, three, loss)
        last = importance(chain(), name, three[-1:], loss)
        assert not np.allclose(found["a"], last["a"], rtol=1e-3)
        turned = importance(chain(), name, three[::-1], loss)
        assert np.allclose(found["a"], turned["a"], rtol=1e-4)

    def test_hessian_is_the_mean_of_squares_by_image(self) -> None:
        """However they lie in batches; of one image it is the square of taylor's by weight."""
        single = batches(4)
        images, masks = (torch.cat(parts) for parts in zip(*single, strict=True))
        apart = importance(chain(), "hessian", single, loss)
        joined = importance(chain(), "hessian", [(images, masks)], loss)
        assert np.allclose(apart["a"], joined["a"], rtol=1e-4)
        alone = [importance(chain(), "hessian", [one], loss)["a"] for one in single]
        assert np.allclose(apart["a"], np.mean(alone, axis=0), rtol=1e-4)

    def test_taylor_is_of_the_mean_gradient(self) -> None:
        single = batches(4)
        images, masks = (torch.cat(parts) for parts in zip(*single, strict=True))
        apart = importance(chain(), "taylor", single, loss)
        joined = importance(chain(), "taylor", [(images, masks)], loss)
        assert np.allclose(apart["a"], joined["a"], rtol=1e-3)

    @pytest.mark.parametrize("name", NAMES)
    def test_without_images_that_is_said(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"needs images to take them on: compress\.images is 0"):
            importance(chain(), name, [], loss)


class TestUnits:
    def test_of_several_channels_have_their_sum(self) -> None:
        module = small(lambda m, x: m.c(m.b(m.a(x)).relu()), a=conv(3, 8), b=conv(8, 8, groups=2), c=conv(8, 3))
        silence_units = [1, 5]
        with torch.no_grad():
            for parameter in module.b.parameters():
                parameter[silence_units] = 0
            module.c.weight[:, silence_units] = 0
        found = importance(module, "magnitude", [], loss)
        assert len(found["b"]) == 4
        assert (np.argmin(found["b"]), found["b"].min()) == (1, 0)

    def test_without_a_batch_norm_all_matter_as_any(self) -> None:
        module = small(lambda m, x: m.b(m.a(x).relu()), a=conv(3, 8), b=conv(8, 3))
        assert np.array_equal(importance(module, "bn-scale", [], loss)["a"], np.ones(8))


@pytest.mark.parametrize(("name", "nearest"), [("tailor", "taylor"), ("bn_scale", "bn-scale"), ("Hessian", "hessian")])
def test_an_unknown_one_is_told_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"no importance '{name}': did you mean '{nearest}'"):
        importance(chain(), name, [], loss)


class TestStatistics:
    def test_of_batch_norm_are_those_of_all_images(self) -> None:
        module, seen = chain(), batches(3, size=4)
        with torch.no_grad():
            module.a.weight *= 3
        set_statistics(module, seen)
        with torch.no_grad():
            made_by_first = [module.a(images) for images, _ in seen]
        assert torch.allclose(module.norm1.running_mean, torch.cat(made_by_first).mean((0, 2, 3)), atol=1e-5)
        assert not any(layer.training for layer in module.modules())
        assert module.norm1.momentum == 0.1

    def test_without_images_stay_as_they_are(self) -> None:
        module = chain()
        before = module.norm1.running_mean.clone()
        set_statistics(module, [])
        assert torch.equal(module.norm1.running_mean, before)
