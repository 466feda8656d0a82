from __future__ import annotations

import json
import os

import pytest
import torch
from kit.networks import spec_of
from safetensors.torch import load_file, save_file

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import load_network, new_network, read_spec, save_network


@pytest.fixture
def folder(tmp_path):
    save_network(new_network(spec_of("unet"), seed=0), tmp_path)
    return tmp_path


def test_a_folder_without_a_description_says_what_a_checkpoint_is(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no network.json: a checkpoint is a folder"):
        read_spec(tmp_path)


def test_missing_weights_are_named(folder) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights.safetensors"):
        load_network(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n",
        b'{"schema": "visiondeploy.network/1", "clas',
        b"[]",
        b"\xff",
        b"[" * 10**5,
        b'{"schema": %s}' % (b"9" * 6000),
        b'{"schema": "visiondeploy.network/1", "task": %s}' % (b"[" * 800 + b"]" * 800),
        b" " * (1 << 20) + b"{}",
    ],
)
def test_a_damaged_description_is_no_traceback(folder, content: bytes) -> None:
    (folder / "network.json").write_bytes(content)
    with pytest.raises(InputError, match=r"network.json") as error:
        read_spec(folder)
    assert "\n" not in str(error.value)


def test_a_description_that_never_ends_is_not_waited_for(folder) -> None:
    (folder / "network.json").unlink()
    os.mkfifo(folder / "network.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_spec(folder)


def test_another_schema_says_which_one_this_release_reads(folder) -> None:
    text = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps({**text, "schema": "visiondeploy.network/9"}))
    with pytest.raises(InputError, match=r"network/9.*reads 'visiondeploy.network/1'"):
        read_spec(folder)


def test_truncated_weights_are_refused(folder) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_network(folder)


def test_weights_that_are_not_numbers_are_refused_by_name(folder) -> None:
    path = folder / "weights.safetensors"
    state = load_file(path)
    state["head.weight"][0] = torch.nan
    save_file(state, path)
    with pytest.raises(InputError, match=r"head.weight holds NaN"):
        load_network(folder)


def test_weights_of_another_network_say_what_does_not_fit(folder) -> None:
    path = folder / "weights.safetensors"
    state = load_file(path)
    del state["head.weight"]
    save_file(state, path)
    with pytest.raises(InputError, match=r"does not fit unet.*head.weight"):
        load_network(folder)
