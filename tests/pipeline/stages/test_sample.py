"""Which images calibrate, and what is kept of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from kit.pixels import Pixels, PixelTask

from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.errors import InputError
from visiondeploy.pipeline.stages.sample import CalibrationSet, Feeds, sample
from visiondeploy.types import Sample


class Rare(Pixels):
    """Dark images, of which one alone shows the bright class."""

    def __getitem__(self, index: int) -> Sample:
        found = super().__getitem__(index)
        return Sample(found.name, found.image, np.full((4, 6), int(index == 13), np.uint8))


def chosen(split, folder, **settings) -> CalibrationSet:
    given = CalibrationSettings(**settings)
    return CalibrationSet.of(sample(split, PixelTask(), given, folder, lambda done, total, note: None))


@pytest.mark.parametrize("seed", range(4))
def test_the_rare_class_is_in_every_set(seed, tmp_path) -> None:
    found = chosen(Rare(40), tmp_path, images=4, seed=seed)
    assert 13 in found.images
    assert found.classes == {"road": 3, "tree": 1}


def test_without_stratification_no_mask_is_read(tmp_path) -> None:
    split = Rare(40)
    found = chosen(split, tmp_path, images=4, held_back=2, stratify=False)
    assert sorted(split.reads) == sorted([*found.images, *found.held_back])
    assert found.classes == {}


def test_the_digest_is_of_names_and_pixels(tmp_path) -> None:
    first, again = chosen(Pixels(20), tmp_path, images=4), chosen(Pixels(20), tmp_path, images=4)
    assert first == again
    assert chosen(Pixels(20), tmp_path, images=4, seed=1).digest != first.digest

    class Brighter(Pixels):
        def __getitem__(self, index: int) -> Sample:
            found = super().__getitem__(index)
            return Sample(found.name, found.image | 1, found.target)

    changed = chosen(Brighter(20), tmp_path, images=4)
    assert changed.names == first.names
    assert changed.digest != first.digest


def test_the_set_can_be_read(tmp_path) -> None:
    found = chosen(Pixels(20), tmp_path, images=4, held_back=2)
    content = json.loads((tmp_path / "set.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["split"]) == ("visiondeploy.calibration-set/1", "val")
    assert list(content["images"]) == list(found.names) == [f"{index:03}" for index in found.images]
    assert len(content["held_back"]) == 2


def test_an_empty_split_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match=r"the calibration set is empty: .*data\.calibration"):
        chosen(Pixels(0), tmp_path)


def test_feeds_are_read_when_they_are_asked_for() -> None:
    split = Pixels(20)
    feeds = Feeds(PixelTask(), split, (3, 5))
    assert (len(feeds), split.reads) == (2, [])
    assert [feed["image"].shape for feed in feeds] == [(1, 3, 4, 6)] * 2
    assert split.reads == [3, 5]
