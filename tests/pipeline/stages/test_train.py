"""The stage around the training: threads, and a checkpoint that is taken over."""

from __future__ import annotations

import json

import pytest
import torch
from kit.networks import spec_of

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import new_network, read_spec, save_network
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import InputSpec
from visiondeploy.pipeline.stages.train import load, train


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """Runs the stage without a step, and returns what PyTorch's threads were afterwards."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = torch.get_num_threads()
    folder = tmp_path / "network"
    folder.mkdir()

    def run(threads: int) -> int:
        torch.set_num_threads(3)
        data, settings = open_dataset("synthetic", {}), TrainSettings(steps=0)
        splits = ("train", "val")
        augment = AugmentSettings()
        found = train(
            spec_of("unet"), data, splits, settings, augment, threads, tmp_path, folder, lambda done, total, note: None
        )
        assert found["steps"] == 0
        assert read_spec(folder) == spec_of("unet")
        return torch.get_num_threads()

    yield run
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_on_the_recipes_threads(untrained, threads) -> None:
    """With more than there are free cores, training is many times slower."""
    assert untrained(threads) == threads


def test_but_not_where_torchrun_has_shared_the_cores_out(untrained, monkeypatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert untrained(1) == 3


def test_a_checkpoint_is_taken_over_with_another_size(tmp_path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    folder.mkdir()
    spec = spec_of("unet").model_copy(update={"trained_steps": 7})
    save_network(new_network(spec, seed=0), source)
    larger = spec.model_copy(update={"input": InputSpec(height=64, width=64)})
    found = load(source, larger, folder)
    assert found["steps"] == 7
    assert read_spec(folder) == larger
    assert (folder / "weights.safetensors").read_bytes() == (source / "weights.safetensors").read_bytes()


def test_weights_that_do_not_fit_are_one_sentence(tmp_path) -> None:
    save_network(new_network(spec_of("unet"), seed=0), tmp_path)
    path = tmp_path / "network.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["options"]["base_width"] = 8
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match=r"does not fit unet as network\.json describes it") as error:
        load(tmp_path, read_spec(tmp_path), tmp_path)
    assert "\n" not in str(error.value)
