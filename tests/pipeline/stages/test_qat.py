"""The stage around fine-tuning for int8: what it writes and records."""

from __future__ import annotations

import pytest
import torch
from kit.builds import contents
from kit.datasets import write_folder
from kit.networks import spec_of

from visiondeploy.models.checkpoint import Network, load_network, new_network, read_spec, save_network
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.settings import AugmentSettings, QatSettings
from visiondeploy.pipeline.stages.qat import notes, tune


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "float"
    folder.mkdir()
    network = new_network(spec_of("unet"), seed=0)
    save_network(Network(network.module, network.spec.model_copy(update={"trained_steps": 7})), folder)
    return folder


@pytest.fixture
def run(checkpoint, tmp_path):
    """Fine-tunes three steps."""
    data = open_dataset(f"folder:{write_folder(tmp_path / 'data', size=(32, 48))}", {})
    for name in ("tuned", "work"):
        (tmp_path / name).mkdir()

    def call(write: bool = True):
        settings, folder = QatSettings(steps=3, batch_size=2, workers=0), tmp_path / "tuned"
        splits, augment = ("train", "val"), AugmentSettings()
        threads, report = torch.get_num_threads(), lambda done, total, note: None
        out = folder if write else None
        found = tune(checkpoint, data, splits, settings, augment, 7, False, threads, tmp_path / "work", out, report)
        return found, folder

    return call


def test_it_writes_a_plain_network_that_was_trained_for_longer(run, checkpoint) -> None:
    before = contents(checkpoint)
    found, folder = run()
    assert contents(checkpoint) == before
    assert read_spec(folder) == read_spec(checkpoint).model_copy(update={"trained_steps": 10})
    old, new = (load_network(place).module.state_dict() for place in (checkpoint, folder))
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert "head.weight" in changed
    assert not {name for name in changed if "running" in name}
    assert list((folder / "tensorboard").iterdir())
    assert (found["steps"], found["weight_bits"], found["symmetric"]) == (3, 7, False)
    assert found["parameters"] == sum(weight.numel() for weight in load_network(folder).module.parameters())
    assert [entry["step"] for entry in found["history"]] == [3]


def test_a_process_that_only_helps_writes_nothing(run) -> None:
    found, folder = run(write=False)
    assert found["steps"] == 3
    assert contents(folder) == {}


def test_what_a_row_says_of_it() -> None:
    assert notes(QatSettings()) == ()
    assert notes(QatSettings(steps=200)) == ("fine-tuned for int8 with 200 steps (QAT)",)
