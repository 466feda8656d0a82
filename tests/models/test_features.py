"""Feature networks with their real weights, where these and the paintings are here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kit.datasets import shared_data
from PIL import Image
from torch.nn.functional import cosine_similarity

from visiondeploy.errors import EnvironmentMismatch, UsageError
from visiondeploy.models.features import FEATURES, FeatureNet, load_features, weights_folder
from visiondeploy.models.perceptual import style_grams


def real(name: str) -> FeatureNet:
    try:
        return load_features(name)
    except EnvironmentMismatch as error:
        pytest.skip(str(error))


def halves(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS))
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    return picture[..., :128], picture[..., 128:]


@pytest.mark.parametrize("name", FEATURES)
def test_a_paintings_halves_are_nearer_to_each_other_than_to_other_paintings(name: str) -> None:
    net = real(name)
    pictures = torch.cat([half for path in sorted(shared_data("style").glob("*.jpg")) for half in halves(path)])
    grams = [gram.flatten(1) for gram in style_grams(net, pictures, net.style).values()]
    assert all(gram.isfinite().all() for gram in grams)
    # Of directions: one half of the Great Wave is mostly sky, and its matrices are smaller.
    alike = torch.stack([cosine_similarity(gram[:, None], gram[None], dim=2) for gram in grams]).mean(dim=0)
    nearest = alike.fill_diagonal_(-1).argmax(dim=1)
    right = sum(found == index ^ 1 for index, found in enumerate(nearest.tolist()))
    # At this size one of VGG's is wrong: half a Great Wave is as near to the Starry Night.
    assert right >= len(pictures) - 1


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'vgg19'"):
        weights_folder("vgg-19")


def test_weights_lie_in_the_cache(monkeypatch) -> None:
    monkeypatch.setenv("VISIONDEPLOY_CACHE", "/x")
    assert weights_folder("vgg19") == Path("/x/weights/vgg19")
    monkeypatch.delenv("VISIONDEPLOY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert weights_folder("vgg19") == Path("/home/me/.cache/visiondeploy/weights/vgg19")
