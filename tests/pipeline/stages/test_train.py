"""The stage around the training: threads, and a checkpoint that is taken over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from kit.datasets import write_folder
from kit.networks import spec_of
from PIL import Image as Pillow

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
            spec_of("unet"),
            None,
            data,
            splits,
            settings,
            augment,
            threads,
            tmp_path,
            folder,
            lambda done, total, note: None,
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


class TestValidationImages:
    """What is wrong with one is found before the training, not after hours of it."""

    @pytest.fixture
    def data(self, tmp_path) -> Path:
        return write_folder(tmp_path / "data", size=(32, 48))

    @pytest.fixture
    def learn(self, data, tmp_path, monkeypatch):
        """Trains two steps, and returns what was reported."""
        monkeypatch.setenv("WORLD_SIZE", "1")  # the threads stay as they are
        said: list[tuple[int, int, str]] = []

        def run(**settings: int) -> list[tuple[int, int, str]]:
            train(
                spec_of("unet"),
                None,
                open_dataset(f"folder:{data}", {}),
                ("train", "val"),
                TrainSettings(steps=2, batch_size=2, workers=0, **settings),
                AugmentSettings(),
                1,
                tmp_path,
                tmp_path / "network",
                lambda done, total, note: said.append((done, total, note)),
            )
            return said

        (tmp_path / "network").mkdir()
        run.said = said
        return run

    def test_all_are_read_before_the_first_step(self, learn) -> None:
        said = learn(validate_images=1)
        assert said[:2] == [(1, 2, "validation images checked"), (2, 2, "validation images checked")]
        assert [done for done, _, note in said if note.startswith("loss")] == [1, 2]

    @pytest.mark.parametrize("limits", [{}, {"validate_images": 1}])
    def test_a_damaged_one_is_named(self, learn, data, limits) -> None:
        (data / "masks/val/scene 1.png").write_bytes(b"damaged")
        with pytest.raises(InputError, match=r"scene 1\.png' is not a picture"):
            learn(**limits)
        assert not [note for _, _, note in learn.said if note.startswith("loss")]

    def test_none_with_a_label_is_said_of_the_split(self, learn, data) -> None:
        Pillow.new("L", (48, 32), 255).save(data / "masks/val/scene 0.png")
        learn()
        with pytest.raises(InputError, match="the split 'val' has no labelled pixel in the images to validate on"):
            learn(validate_images=1)


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
