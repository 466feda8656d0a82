"""Folders of pictures without truths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.data.table import open_dataset


def fill(folder: Path, count: int, suffix: str = "png") -> Path:
    """Pictures "0.png", "1.png" …, each of one grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Pillow.fromarray(np.full((4, 6, 3), number, np.uint8)).save(folder / f"{number}.{suffix}")
    return folder


def test_every_fifth_is_held_back_and_none_is_in_both(tmp_path) -> None:
    dataset = open_dataset(f"images:{fill(tmp_path, 12)}", {})
    train, val = (dataset.split(name) for name in ("train", "val"))
    names = [[split[index].name for index in range(len(split))] for split in (train, val)]
    assert (len(train), len(val)) == (10, 2)
    assert not {*names[0]} & {*names[1]}
    assert (val[0].image == int(val[0].name)).all()
    assert val[0].target is None


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_few_pictures_give_both_splits(tmp_path, count) -> None:
    dataset = open_dataset(f"images:{fill(tmp_path, count)}", {"val_share": 0.5})
    assert len(dataset.split("train")) > 0
    assert len(dataset.split("val")) > 0
    assert len(dataset.split("train")) + len(dataset.split("val")) == count


def test_folders_are_splits_where_there_are_any(tmp_path) -> None:
    fill(tmp_path / "train", 3)
    fill(tmp_path / "val", 1, "jpg")
    (tmp_path / "empty").mkdir()
    dataset = open_dataset(f"images:{tmp_path}", {})
    assert dataset.splits == ("train", "val")
    assert len(dataset.split("train")) == 3


def test_other_files_and_hidden_ones_are_no_pictures(tmp_path) -> None:
    fill(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._1.png").write_bytes(b"a fork of macOS")
    dataset = open_dataset(f"images:{tmp_path}", {})
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 3


def test_the_digest_changes_with_a_picture_and_with_a_name(tmp_path) -> None:
    dataset = open_dataset(f"images:{fill(tmp_path / 'train', 3).parent}", {})
    before = dataset.digest("train")
    assert before == dataset.digest("train")
    (tmp_path / "train" / "0.png").rename(tmp_path / "train" / "9.png")
    renamed = open_dataset(f"images:{tmp_path}", {}).digest("train")
    Pillow.fromarray(np.full((4, 6, 3), 99, np.uint8)).save(tmp_path / "train" / "9.png")
    assert len({before, renamed, open_dataset(f"images:{tmp_path}", {}).digest("train")}) == 3


def test_bad_folders_are_one_sentence(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be listed"):
        open_dataset(f"images:{tmp_path / 'nowhere'}", {})
    with pytest.raises(InputError, match="has 0 pictures, expected two or more"):
        open_dataset(f"images:{tmp_path}", {})
    with pytest.raises(InputError, match="has 1 picture, expected"):
        open_dataset(f"images:{fill(tmp_path, 1)}", {})
    with pytest.raises(UsageError, match=r"no .* split 'test'"):
        open_dataset(f"images:{fill(tmp_path, 4)}", {}).split("test")


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path) -> None:
    fill(tmp_path / "train", 2)
    (tmp_path / "train" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1\.png"):
        open_dataset(f"images:{tmp_path}", {}).split("train")[1]
