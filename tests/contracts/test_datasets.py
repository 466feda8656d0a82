"""What holds for every kind of data set in the table. A newcomer is tested the day it is added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.datasets import write_folder, write_pictures

from visiondeploy.errors import UsageError
from visiondeploy.models.data.table import DATASETS, open_dataset
from visiondeploy.types import Dataset

SMALL: dict[str, Callable[[Path], tuple[str, dict[str, Any]]]] = {
    "synthetic": lambda _: ("synthetic", {"size": (32, 48), "train": 6, "val": 3}),
    "folder": lambda path: (f"folder:{write_folder(path / 'toy')}", {}),
    "images": lambda path: (f"images:{write_pictures(path / 'toy', 5)}", {}),
}
"""Spec and options of a small data set of each kind, made in an empty folder."""


def test_every_kind_is_tested() -> None:
    assert SMALL.keys() == DATASETS.keys()


@pytest.fixture(params=DATASETS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    return SMALL[request.param](tmp_path)


@pytest.fixture
def dataset(small: tuple[str, dict[str, Any]]) -> Dataset:
    return open_dataset(*small)


class TestEveryDataset:
    def test_describes_its_classes(self, dataset: Dataset) -> None:
        assert dataset.name
        assert len(set(dataset.classes)) == len(dataset.classes)
        assert len(dataset.classes) <= dataset.ignore_index <= 255
        assert len(set(dataset.palette)) == len(dataset.classes)
        assert all(0 <= channel <= 255 for colour in dataset.palette for channel in colour)

    def test_has_splits_to_learn_and_to_judge(self, dataset: Dataset) -> None:
        assert {"train", "val"} <= set(dataset.splits)
        for name in dataset.splits:
            assert dataset.split(name).name == name
            assert len(dataset.split(name)) > 0

    def test_samples_are_pictures_with_masks_of_known_classes(self, dataset: Dataset) -> None:
        for name in dataset.splits:
            split = dataset.split(name)
            samples = [split[index] for index in range(len(split))]
            assert len({sample.name for sample in samples}) == len(samples)
            for sample in samples:
                assert sample.image.dtype == np.uint8
                assert sample.image.shape[2:] == (3,)
                if not dataset.classes:
                    assert sample.target is None
                    continue
                assert sample.target is not None
                assert sample.target.dtype == np.uint8
                assert sample.target.shape == sample.image.shape[:2]
                assert set(np.unique(sample.target)) <= {*range(len(dataset.classes)), dataset.ignore_index}

    def test_is_a_sequence(self, dataset: Dataset) -> None:
        split = dataset.split("train")
        assert split[-1].name == split[len(split) - 1].name
        with pytest.raises(IndexError):
            split[len(split)]

    def test_a_sample_is_the_same_each_time_and_belongs_to_its_reader(self, dataset: Dataset) -> None:
        split = dataset.split("train")
        first = split[0]
        before = [None if array is None else array.copy() for array in (first.image, first.target)]
        for array in (first.image, first.target):
            if array is not None:
                array[:] = 0
        again = split[0]
        for array, kept in zip((again.image, again.target), before, strict=True):
            assert array is kept is None or np.array_equal(array, kept)

    def test_the_digest_is_the_same_each_time_and_of_the_split(
        self, small: tuple[str, dict[str, Any]], dataset: Dataset
    ) -> None:
        digest = dataset.digest("train")
        assert len(digest) == 64
        assert set(digest) <= set("0123456789abcdef")
        assert dataset.digest("train") == open_dataset(*small).digest("train") == digest
        assert dataset.digest("val") != digest

    def test_an_unknown_split_is_a_usage_error(self, dataset: Dataset) -> None:
        for act in (dataset.split, dataset.digest):
            with pytest.raises(UsageError, match=r"split 'vall': did you mean 'val'\?"):
                act("vall")

    def test_an_unknown_option_is_a_usage_error(self, small: tuple[str, dict[str, Any]]) -> None:
        spec, options = small
        with pytest.raises(UsageError, match="unknown key 'no such option'"):
            open_dataset(spec, {**options, "no such option": 1})
