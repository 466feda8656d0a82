"""Networks that come with the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.pictures import photograph
from PIL import Image as Pillow

from visiondeploy.errors import UsageError
from visiondeploy.models.checkpoint import load_network
from visiondeploy.models.features import features_digest
from visiondeploy.models.shipped import shipped_networks
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.predicting import predict


def painted(name, source, target, **more) -> np.ndarray:
    """The picture that `deploy predict NAME` makes."""
    given = {"output": None, "backend": None, "tile": None, "batch": None, "threads": 1, "style": None, **more}
    predict(name, str(source), str(target), existing="refuse", events=Silent(), **given).complain()
    return np.asarray(Pillow.open(target))


@pytest.fixture
def photo(tmp_path):
    """A photograph of an odd size."""
    Pillow.fromarray(photograph(75, 101)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("name", shipped_networks())
def test_each_is_trained_and_small(name) -> None:
    folder = shipped_networks()[name]
    assert load_network(folder).spec.trained_steps > 0
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("name", shipped_networks())
def test_each_can_be_judged_with_the_features_that_come_along(name) -> None:
    style = load_network(shipped_networks()[name]).spec.style
    assert (style.features, style.weights) == ("mobilenet", features_digest("mobilenet"))


def test_a_name_gives_a_picture_of_the_photographs_size(tmp_path, photo, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = painted(Path("starry_night"), photo, tmp_path / "out.png")
    assert found.shape == (75, 101, 3)
    assert not np.array_equal(found, np.asarray(Pillow.open(photo)))


def test_what_cannot_be_is_one_sentence(tmp_path, photo, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'starry_night'"):
        painted(Path("stary_night"), photo, tmp_path / "out.png")
    with pytest.raises(UsageError, match="runs in pytorch: leave --backend away"):
        painted(Path("starry_night"), photo, tmp_path / "out.png", backend="openvino")
