from __future__ import annotations

import pytest
import torch
from torch import Tensor

from visiondeploy.errors import UsageError
from visiondeploy.models.style_adain import StyleAdain, adain
from visiondeploy.models.table import create
from visiondeploy.pipeline.stages.export import quiet


def made(**options: object) -> StyleAdain:
    torch.manual_seed(0)
    return create("style-adain", {"width": 4, "blocks": 1, **options}, 1).eval()


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestAdain:
    def test_features_get_the_styles_mean_and_deviation(self) -> None:
        content, style = random(2, 5, 12, 9), 3 * random(2, 5, 7, 20, seed=2) + 4
        found = adain(content, style)
        assert found.shape == content.shape
        assert torch.allclose(found.mean(dim=(2, 3)), style.mean(dim=(2, 3)), atol=1e-4)
        assert torch.allclose(found.std(dim=(2, 3), unbiased=False), style.std(dim=(2, 3), unbiased=False), rtol=1e-3)

    def test_of_its_own_style_nothing_changes(self) -> None:
        content = 2 * random(2, 5, 12, 9) + 1
        assert torch.allclose(adain(content, content), content, atol=1e-4)

    def test_in_part_it_lies_between(self) -> None:
        content, style = random(1, 5, 12, 9), 3 * random(1, 5, 12, 9, seed=2)
        assert torch.equal(adain(content, style, 0.0), content)
        half = (content + adain(content, style)) / 2
        assert torch.allclose(adain(content, style, 0.5), half, atol=1e-5)

    def test_a_flat_style_gives_a_flat_result(self) -> None:
        found = adain(random(1, 5, 12, 9), torch.full((1, 5, 4, 4), 2.0))
        assert torch.isfinite(found).all()
        assert torch.allclose(found, torch.full_like(found, 2.0), atol=0.05)


@pytest.mark.parametrize("size", [(16, 16), (33, 21)])
@pytest.mark.parametrize("style", [(16, 16), (19, 40)])
def test_content_and_style_may_have_any_size(size, style) -> None:
    module, content, shown = made(), random(1, 3, *size), random(1, 3, *style, seed=2)
    found = module(content, shown)
    assert found.shape == content.shape
    with quiet():
        scripted = torch.jit.script(module)
    assert torch.allclose(scripted(content, shown), found, atol=1e-5)


def test_each_content_of_a_batch_has_a_style_of_its_own() -> None:
    module, contents, styles = made(), random(3, 3, 20, 24), random(3, 3, 16, 28, seed=2)
    together = module(contents, styles)
    apart = torch.cat([module(contents[n : n + 1], styles[n : n + 1]) for n in range(3)])
    assert torch.allclose(together, apart, atol=1e-4)


def test_without_a_style_it_is_the_contents_own() -> None:
    module, content = made(), random(1, 3, 20, 24)
    assert torch.allclose(module(content), module(content, content), atol=1e-4)


def test_the_style_makes_a_difference_as_large_as_its_strength() -> None:
    content, style = random(1, 3, 20, 24), 2 + 0.1 * random(1, 3, 20, 24, seed=2)
    with torch.no_grad():
        changes = [float((made(strength=s)(content, style) - made()(content)).abs().mean()) for s in (0.0, 0.5, 1.0)]
    assert changes[0] < 1e-4 < changes[1] < changes[2]


def test_a_strength_beyond_all_of_it_names_the_field() -> None:
    with pytest.raises(UsageError, match=r"model.options of network 'style-adain': strength"):
        made(strength=1.5)


def test_deep_features_do_not_fade_nor_grow_before_training() -> None:
    """Without norms, ten layers deep."""
    features = made(width=16, blocks=3).encoder(random(2, 3, 64, 64))
    assert 0.3 < float(features.std()) < 10
