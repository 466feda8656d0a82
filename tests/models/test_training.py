"""Training on a tiny data set: what matters is that it learns, resumes and repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.models.tasks.segmentation_objective import SegmentationObjective
from visiondeploy.models.training import learning_rate, train, validate
from visiondeploy.types import Sample

SPEC = NetworkSpec(
    architecture="unet",
    options={"base_width": 4, "depth": 2},
    classes=("dark", "bright"),
    palette=((0, 0, 0), (255, 255, 255)),
    ignore_index=255,
    input=InputSpec(height=16, width=16),
)


@dataclass
class Squares:
    """A bright square on a dark ground."""

    name: str = "train"
    seed: int = 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        top, left = rng.integers(0, 10, 2)
        mask = np.zeros((16, 16), np.uint8)
        mask[top : top + 6, left : left + 6] = 1
        image = (mask[..., None] * 150 + rng.integers(0, 60, (16, 16, 3))).astype(np.uint8)
        return Sample(f"{index}", image, mask)


def run(tmp_path, settings: TrainSettings, stop_at: int | None = None, data: Squares | None = None):
    class Stop(Exception):
        pass

    def report(done: int, total: int, note: str) -> None:
        if done == stop_at:
            raise Stop

    task = Segmentation(SPEC)
    objective = SegmentationObjective(SPEC, settings, AugmentSettings())
    network = new_network(SPEC, settings.seed)
    try:
        return train(
            network, task, objective, data or Squares(), Squares("val", 1), settings, tmp_path, tmp_path / "log", report
        )
    except Stop:
        return None


def test_it_learns(tmp_path) -> None:
    trained = run(tmp_path, TrainSettings(steps=60, batch_size=6, learning_rate=1e-2))
    task = Segmentation(SPEC)
    assert task.metrics[0].value(validate(trained.network.module, task, Squares("val", 1))) > 0.9
    assert trained.network.spec.trained_steps == 60
    assert trained.history[-1]["step"] == 60


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(tmp_path) -> None:
    settings = TrainSettings(steps=12, batch_size=2, save_every=4, validate_every=4)
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", settings)
    (tmp_path / "cut").mkdir()
    assert run(tmp_path / "cut", settings, stop_at=6) is None
    resumed = run(tmp_path / "cut", settings)
    assert resumed.resumed_from == 4
    assert [entry["step"] for entry in resumed.history] == [4, 8, 12]
    for name, tensor in whole.network.module.state_dict().items():
        assert torch.allclose(tensor.float(), resumed.network.module.state_dict()[name].float(), atol=1e-5), name


def test_runs_of_one_process_may_differ_in_precision(tmp_path) -> None:
    """A build trains, then fine-tunes."""
    for mixed in ("no", "bf16", "no"):
        (tmp_path / mixed).mkdir(exist_ok=True)
        run(tmp_path / mixed, TrainSettings(steps=1, batch_size=2, mixed_precision=mixed))


def test_the_largest_seed_trains(tmp_path) -> None:
    assert run(tmp_path, TrainSettings(steps=1, batch_size=2, seed=2**31 - 1)).resumed_from == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_resume_file_starts_again(tmp_path, content: bytes) -> None:
    (tmp_path / "resume.safetensors").write_bytes(content)
    trained = run(tmp_path, TrainSettings(steps=2, batch_size=2))
    assert trained.resumed_from == 0
    assert trained.network.spec.trained_steps == 2


def test_what_killed_runs_were_writing_is_removed(tmp_path) -> None:
    for name in ("resume.safetensors.123.tmp", "resume.safetensors.99999.tmp"):
        (tmp_path / name).write_bytes(b"half")
    run(tmp_path, TrainSettings(steps=1, batch_size=2))
    assert {path.name for path in tmp_path.iterdir()} == {"resume.safetensors", "log"}


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path) -> None:
    with pytest.raises(InputError, match=r"loss is (nan|inf) at step .*lower train.learning_rate"):
        run(tmp_path, TrainSettings(steps=60, batch_size=2, learning_rate=1e30, clip_norm=1e30))


@pytest.mark.parametrize(("steps", "batches"), [(3, 3), (100, 20)])
def test_masks_without_a_label_stop_it_soon(tmp_path, steps, batches) -> None:
    class Ignored(Squares):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return Sample(sample.name, sample.image, np.full_like(sample.target, 255))

    with pytest.raises(InputError, match=f"no pixel of {batches} batches has a label, all are 255, the ignore_index"):
        run(tmp_path, TrainSettings(steps=steps, batch_size=1), data=Ignored())


def test_tensorboard_gets_losses_metric_pictures_and_histograms(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, TrainSettings(steps=3, batch_size=2))
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "validation/miou", "train/learning_rate", "train/cross_entropy"} <= set(tags["scalars"])
    assert "prediction/0" in tags["images"]
    assert "features/encoder.0" in tags["histograms"]
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_then_falls_to_nearly_nothing(schedule) -> None:
    settings = TrainSettings(steps=200, learning_rate=0.01, schedule=schedule)
    rates = [learning_rate(step, settings) for step in range(200)]
    peak = int(np.argmax(rates))
    assert math.isclose(max(rates), 0.01)
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    assert rates[-1] < 1e-4
    assert (peak > 40) == (schedule == "one-cycle")
