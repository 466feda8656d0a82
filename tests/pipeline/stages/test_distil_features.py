"""Stage `distil-features`: through the store, and on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file
from torch import Tensor

from visiondeploy.errors import UsageError
from visiondeploy.models import feature_fitting
from visiondeploy.models.data.styled import Painting, StyledDataset
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.feature_fitting import Report
from visiondeploy.models.feature_objective import FeatureSettings
from visiondeploy.models.mobile_features import MobileFeatures, build
from visiondeploy.models.vgg import VGG, vgg16
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.stages import distil_features as stage
from visiondeploy.pipeline.store import Store

SETTINGS = FeatureSettings(fitted=2, steps=2, batch_size=2, size=32, save_every=1, validate_images=1)


class Killed(Exception):
    """As if the process had been."""


class Killer(Silent):
    """Stops a run behind a step of training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, done: int, total: int, note: str) -> None:
        if total == SETTINGS.steps and done > self.step:
            raise Killed


def unfitted(teacher: VGG, pictures: list[Tensor], seed: int, report: Report) -> MobileFeatures:
    """A network with random weights, which depend on the seed."""
    del teacher, report
    assert [len(batch) for batch in pictures] == [2]
    torch.manual_seed(seed)
    return build().eval().requires_grad_(False)


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stage.Lesson:
    torch.manual_seed(0)
    teacher = vgg16().eval().requires_grad_(False)
    monkeypatch.setattr(stage, "load_features", lambda name: teacher)
    # A fit takes seconds and has tests of its own.
    monkeypatch.setattr(feature_fitting, "fit", unfitted)
    monkeypatch.setattr(stage, "features_digest", lambda name: hashlib.sha256(name.encode()).hexdigest())
    (tmp_path / "photographs").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        picture = Pillow.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48))
        picture.save(tmp_path / "photographs" / f"{number}.png")
    photographs = open_dataset(f"images:{tmp_path / 'photographs'}", {})
    painting = Painting("painting", rng.integers(0, 256, (48, 48, 3), dtype=np.uint8), "ab")
    return stage.Lesson("vgg16", StyledDataset(photographs, [painting]), ("train", "val"), SETTINGS)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(lesson: stage.Lesson, tmp_path: Path) -> None:
    whole = stage.distil_features(lesson, Store(tmp_path / "one"), 1, Silent())
    store = Store(tmp_path / "other")
    with pytest.raises(Killed):
        stage.distil_features(lesson, store, 1, Killer(1))
    assert (store.work(lesson.step().key) / "resume.safetensors").is_file()
    resumed = stage.distil_features(lesson, store, 1, Silent())
    one, other = (load_file(artifact.path("weights.safetensors")) for artifact in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["first.weight"].dtype == torch.float16
    build().load_state_dict({name: value.float() for name, value in one.items()})
    again = stage.distil_features(lesson, store, 1, Killer(-1))
    assert again.digest == resumed.digest
    description = json.loads(resumed.path("weights.json").read_text())
    assert description["teacher"] == "vgg16"
    assert description["settings"]["steps"] == 2
    assert description["feature_error"] > 0


def test_only_a_vgg_can_be_taught(lesson: stage.Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build().eval()
    monkeypatch.setattr(stage, "load_features", lambda name: net)
    with pytest.raises(UsageError, match="only a VGG can be taught"):
        stage.distil_features(lesson, Store(tmp_path / "store"), 1, Silent())
