"""Photographs with paintings as their truths."""

from __future__ import annotations

import numpy as np
import pytest
from kit.pictures import painting
from kit.pixels import Pixels
from PIL import Image as Pillow

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.data.styled import StyledDataset, StyledSplit, read_painting
from visiondeploy.models.data.synthetic import SyntheticDataset, SyntheticSettings


@pytest.fixture
def files(tmp_path):
    """Two paintings."""
    places = [tmp_path / "waves.png", tmp_path / "stars.jpg"]
    for number, place in enumerate(places):
        Pillow.fromarray(np.roll(painting(), number, axis=2)).save(place)
    return places


def test_a_painting_has_its_longer_side_as_wanted(files) -> None:
    found = read_painting(files[0], 40)
    assert found.name == "waves"
    assert found.image.shape == (40, 32, 3)
    assert found.digest == read_painting(files[0], 20).digest, "it is the same painting at any size"


def test_each_photograph_comes_with_each_painting(files) -> None:
    paintings = [read_painting(file, 40) for file in files]
    split = StyledSplit(Pixels(3), paintings)
    assert len(split) == 6
    for index in range(6):
        sample = split[index]
        assert sample.style == index % 2
        assert sample.target is paintings[index % 2].image
        assert np.array_equal(sample.image, Pixels(3)[index // 2].image)
    assert len({split[index].name for index in range(6)}) == 6


def test_photographs_keep_their_names_where_there_is_one_painting(files) -> None:
    split = StyledSplit(Pixels(3), [read_painting(files[0], 40)])
    assert split[1].name == Pixels(3)[1].name


def test_the_digest_hangs_on_the_paintings_and_their_size(files) -> None:
    photographs = SyntheticDataset(SyntheticSettings(train=2, val=1))
    first, second = (read_painting(file, 40) for file in files)
    found = [
        StyledDataset(photographs, paintings).digest("val")
        for paintings in ([first], [second], [first, second], [second, first], [read_painting(files[0], 20)])
    ]
    assert len(set(found)) == 5
    assert StyledDataset(photographs, [first]).classes == ()


def test_bad_paintings_are_one_sentence(tmp_path) -> None:
    with pytest.raises(UsageError, match="needs a painting: name a picture with --style"):
        StyledDataset(SyntheticDataset(SyntheticSettings()), [])
    with pytest.raises(InputError, match=r"nowhere\.png"):
        read_painting(tmp_path / "nowhere.png", 40)
