"""Ctrl-C during a training, and going on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kit.builds import DEPLOY, TOY

from visiondeploy.pipeline.folder import read_build

STEPS = 40


def steps_in(events: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = EventFileLoader(str(events)).Load()
    return sorted({event.step for event in found if any(v.tag == "train/loss" for v in event.summary.value)})


@pytest.fixture(autouse=True)
def interruptible():
    """A job in a shell's background ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_training_says_so_and_the_same_command_goes_on(tmp_path) -> None:
    cache = tmp_path / "cache"
    variables = os.environ | {"VISIONDEPLOY_CACHE": str(cache)}
    command = [
        str(DEPLOY),
        "train",
        "--recipe",
        str(TOY),
        "--set",
        f"train.steps={STEPS}",
        "--set",
        "train.save_every=2",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(6000):
        if process.poll() is not None or list(cache.glob("work/*/resume.safetensors")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    said = [line for line in err.splitlines() if line and not line.startswith("·")]
    assert said == ["deploy: interrupted; run the same command again to go on."]
    assert not (tmp_path / "builds").exists()
    assert list(cache.glob("work/*/resume.safetensors"))

    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    network = tmp_path / done.stdout.strip()
    assert read_build(network.parent)[0].spec.trained_steps == STEPS
    assert not list(cache.glob("work/*"))
    pytest.importorskip("tensorboard")
    first, second = sorted(
        (network / "tensorboard").iterdir(), key=lambda path: int(path.name.split("tfevents.")[1].split(".")[0])
    )
    assert steps_in(second)[-1] == STEPS
    assert steps_in(second)[0] > 2
    assert steps_in(first)[0] == 1
