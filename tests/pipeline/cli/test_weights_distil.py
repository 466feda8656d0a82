"""`deploy weights distil` as a user meets it; the stage has tests of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from visiondeploy.models import features
from visiondeploy.models.features import features_digest, load_features
from visiondeploy.models.mobile_features import build
from visiondeploy.models.vgg import vgg16_hed
from visiondeploy.pipeline.cli import main


@pytest.fixture
def deploy(tmp_path, monkeypatch, capsys):
    """Runs the command: exit code, stdout, stderr."""
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "SHIPPED", tmp_path / "shipped")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deploy", "weights", "distil", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return (int(left.value.code or 0), *capsys.readouterr())

    yield run
    features_digest.cache_clear()
    load_features.cache_clear()


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = Pillow.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48))
        picture.save(folder / f"{number}.png")
    return folder


def test_weights_and_their_description_are_made_of_a_teacher_and_pictures(deploy, photographs, tmp_path) -> None:
    torch.manual_seed(0)
    held = tmp_path / "cache" / "weights" / "vgg16-hed"
    held.mkdir(parents=True)
    save_file(vgg16_hed().state_dict(), held / "weights.safetensors")
    few = ("--steps", "0", "--fitted", "2", "--pixels", "32", "--threads", "1")
    out = tmp_path / "new" / "weights"
    code, printed, err = deploy("--dataset", f"images:{photographs}", "--style", photographs / "0.png", *few, "-o", out)
    assert (code, printed) == (0, "")
    assert f"weights  {out / 'weights.safetensors'}" in err
    build().load_state_dict({name: value.float() for name, value in load_file(out / "weights.safetensors").items()})
    assert '"teacher": "vgg16-hed"' in (out / "weights.json").read_text()


def test_a_teacher_that_is_not_here_is_to_be_fetched(deploy, photographs, tmp_path) -> None:
    code, printed, err = deploy("--dataset", f"images:{photographs}", "-o", tmp_path / "out")
    assert (code, printed) == (5, "")
    assert "run `deploy weights fetch vgg16-hed`" in err
