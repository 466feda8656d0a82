from __future__ import annotations

import itertools

import pytest
import torch

from visiondeploy.errors import UsageError
from visiondeploy.models.style_net import StyleNet, StyleNetSettings
from visiondeploy.models.table import create
from visiondeploy.pipeline.stages.export import quiet

KINDS = [
    {"norm": norm, "padding": padding, "upsample": upsample}
    for norm, padding, upsample in itertools.product(
        ("instance", "batch"), ("reflect", "zero", "replicate"), ("nearest", "transposed", "shuffle")
    )
]


def small(**options: object) -> StyleNet:
    torch.manual_seed(0)
    return create("style", {"width": 4, "blocks": 1, **options}, 1).eval()


def test_it_has_as_many_weights_as_the_paper_says() -> None:
    """Johnson et al. 2016, supplementary material: 1.68 M at 32 filters and 5 blocks."""
    with torch.device("meta"):
        module = StyleNet(StyleNetSettings(), "instance")
    assert sum(parameter.numel() for parameter in module.parameters()) == pytest.approx(1.68e6, rel=0.01)


@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(options.values()))
def test_every_kind_gives_a_picture_of_the_images_size(options) -> None:
    module = small(**options)
    for size in ((16, 16), (17, 30), (35, 20)):
        found = module(torch.randn(2, 3, *size))
        assert found.shape == (2, 3, *size)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("options", KINDS[::5], ids=lambda options: "-".join(options.values()))
def test_as_torchscript_it_computes_the_same(options) -> None:
    module, image = small(**options), torch.randn(1, 3, 21, 34)
    with quiet():
        scripted = torch.jit.script(module)
    assert torch.allclose(scripted(image), module(image), atol=1e-6)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_images_of_a_batch_do_not_see_each_other(norm: str) -> None:
    module, images = small(norm=norm), torch.randn(3, 3, 20, 24)
    apart = torch.cat([module(image[None]) for image in images])
    assert torch.allclose(module(images), apart, atol=1e-5)


def test_with_instance_norm_the_contrast_of_the_image_does_not_matter() -> None:
    module, image = small(), torch.randn(1, 3, 32, 32)
    assert torch.allclose(module(3 * image), module(image), atol=1e-3)
    assert not torch.allclose(small(norm="batch")(3 * image), small(norm="batch")(image), atol=1e-3)


def test_what_is_cut_off_at_the_end_does_not_move_the_picture() -> None:
    """Away from the border, the picture of an image is that of the larger image that it was cut from."""
    module = small(norm="batch", kernel=3, blocks=0)
    image = torch.randn(1, 3, 64, 64)
    whole, cut = module(image), module(image[..., :61, :58])
    assert torch.allclose(whole[..., :40, :40], cut[..., :40, :40], atol=1e-5)


def test_it_begins_with_pictures_around_grey() -> None:
    with torch.no_grad():
        found = small()(torch.randn(4, 3, 32, 32))
    assert abs(float(found.mean()) - 0.5) < 0.5


@pytest.mark.parametrize(
    ("options", "said"), [({"norm": "none"}, "norm"), ({"kernel": 4}, "kernel"), ({"upsample": "bilinear"}, "upsample")]
)
def test_another_kind_names_the_field(options, said) -> None:
    with pytest.raises(UsageError, match=rf"model.options of network 'style': {said}"):
        create("style", options, 1)
