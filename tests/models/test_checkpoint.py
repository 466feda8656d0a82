from __future__ import annotations

import json
import os

import pytest
import torch
from kit.networks import spec_of
from safetensors.torch import load_file, save_file

from visiondeploy.errors import InputError, ResourceError
from visiondeploy.models import checkpoint
from visiondeploy.models.checkpoint import load_network, new_network, read_spec, save_network


@pytest.fixture
def folder(tmp_path):
    save_network(new_network(spec_of("unet"), seed=0), tmp_path)
    return tmp_path


def test_a_folder_without_a_description_says_what_a_checkpoint_is(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no network.json: a checkpoint is a folder"):
        read_spec(tmp_path)


def test_the_inputs_of_a_served_network_are_described_and_those_of_a_bare_one_are_as_ever(folder) -> None:
    assert "io" not in json.loads((folder / "network.json").read_text())
    assert read_spec(folder) == spec_of("unet")
    spec = spec_of("unet").model_copy(update={"io": "uint8"})
    save_network(new_network(spec, seed=0), folder)
    assert json.loads((folder / "network.json").read_text())["io"] == "uint8"
    assert read_spec(folder) == spec


def test_inputs_that_do_not_exist_are_one_sentence(folder) -> None:
    path = folder / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"io": "uint9"}))
    with pytest.raises(InputError, match=r"network\.json: io = 'uint9': input should be 'float32' or 'uint8'"):
        read_spec(folder)


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


def test_a_number_that_is_too_large_for_the_network_is_refused_by_name(folder) -> None:
    path = folder / "weights.safetensors"
    state = load_file(path)
    state["head.weight"] = state["head.weight"].double() + 1e300
    save_file(state, path)
    with pytest.raises(InputError, match=r"weights.safetensors: head.weight holds NaN or infinity"):
        load_network(folder)


def test_a_tensor_that_is_there_twice_is_refused(folder) -> None:
    path = folder / "weights.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].strip()
    name, described = next(iter(json.loads(header).items()))
    twice = b"{%s:%s,%s" % (json.dumps(name).encode(), json.dumps(described).encode(), header[1:])
    path.write_bytes(len(twice).to_bytes(8, "little") + twice + data[8 + length :])
    with pytest.raises(InputError, match=rf"weights.safetensors is not a whole.*'{name}' is there twice"):
        load_network(folder)


def test_weights_that_never_end_are_not_waited_for(folder) -> None:
    (folder / "weights.safetensors").unlink()
    os.mkfifo(folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights.safetensors is not .*not a regular file"):
        load_network(folder)


def describe(folder, **changed) -> None:
    path = folder / "network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_a_network_larger_than_the_memory_is_refused_before_it_is_made(folder) -> None:
    """Its weights are two terabytes: the kernel would kill whoever asks for them."""
    options = {"base_width": 1024, "depth": 7}
    describe(folder, options=options)
    with pytest.raises(ResourceError, match=r"needs \d+ MB of memory, \d+ MB are free"):
        load_network(folder)
    with pytest.raises(ResourceError, match="make it smaller"):
        new_network(spec_of("unet").model_copy(update={"options": options}), seed=0)


def test_where_the_free_memory_is_not_known_nothing_is_refused(folder, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "available_memory", lambda: None)
    assert load_network(folder).spec == spec_of("unet")


@pytest.mark.parametrize("changed", [{"options": {"base_width": 100_000}}, {"architecture": "unit"}])
def test_a_network_that_does_not_exist_names_the_file(folder, changed) -> None:
    describe(folder, **changed)
    with pytest.raises(InputError, match=r"network.json describes no network: .*unet"):
        load_network(folder)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"palette": [[0, 0, 0]]}, "the palette has 1 colours for 3 classes"),
        ({"palette": [[0, 0, 0], [0, 0, 256], [0, 0, 0]]}, "palette.1.2 = 256"),
        ({"ignore_index": 2}, "ignore_index 2 is the class 'tree'"),
        ({"ignore_index": 256}, "ignore_index = 256"),
        ({"ignore_index": -1}, "ignore_index = -1"),
        ({"classes": [], "palette": []}, "a network has classes, or a style"),
    ],
)
def test_a_description_that_does_not_agree_with_itself_is_refused(folder, changed, words) -> None:
    describe(folder, **changed)
    with pytest.raises(InputError, match=rf"network.json: {words}"):
        read_spec(folder)


def test_weights_of_another_network_say_what_does_not_fit(folder) -> None:
    path = folder / "weights.safetensors"
    state = load_file(path)
    del state["head.weight"]
    save_file(state, path)
    with pytest.raises(InputError, match=r"does not fit unet.*head.weight"):
        load_network(folder)
