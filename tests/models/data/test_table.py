from pathlib import Path

import pytest
from kit.datasets import write_folder

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.data.table import DATASETS, open_dataset


def test_opens_a_folder_at_its_path(tmp_path: Path) -> None:
    assert open_dataset(f"folder:{write_folder(tmp_path / 'a: b')}", {}).name == "toy"


def test_options_reach_the_data_set() -> None:
    dataset = open_dataset("synthetic", {"size": [32, 48], "train": 5})
    assert len(dataset.split("train")) == 5
    assert dataset.split("train")[0].image.shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("sinthetic", {}, r"no data set 'sinthetic': did you mean 'synthetic'\? Known: folder, images, synthetic\."),
        ("", {}, r"no data set '': Known"),
        ("x" * 300, {}, "Known: folder, images, synthetic"),
        ("folder", {}, "names no place, expected 'folder:PATH'"),
        ("folder:", {}, "names no place, expected 'folder:PATH'"),
        ("synthetic:here", {}, "expected only 'synthetic'"),
        ("synthetic", {"sead": 1}, r"options of data set 'synthetic': unknown key 'sead': did you mean 'seed'\?"),
        ("folder:x", {"seed": 1}, r"options of data set 'folder': unknown key 'seed': Known: none\."),
        ("synthetic", {"train": "many"}, "train = 'many'"),
        ("synthetic", {"train": -1}, "train = -1: input should be greater than or equal to 1"),
        ("synthetic", {"size": [1, 128]}, "size.0 = 1"),
    ],
)
def test_a_mistake_in_the_call_is_named(spec: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_dataset(spec, options)


def test_what_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", "y" * 300, "nul\0byte"):
        with pytest.raises(InputError):
            open_dataset(f"folder:{place}", {})


def test_every_kind_says_what_it_is() -> None:
    for entry in DATASETS.values():
        assert entry.summary
        assert "\n" not in entry.summary
