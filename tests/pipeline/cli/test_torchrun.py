"""`torchrun … deploy`: two processes on the CPU train one network, and the first one writes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.builds import DEPLOY, TOY

from visiondeploy.models.checkpoint import read_spec

TORCHRUN = Path(sys.executable).with_name("torchrun")
# At a free port of its own, so that two of these may run at once.
TWO = ["--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--no-python"]


def run(room: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with a store there; it ends well."""
    variables = {**os.environ, "VISIONDEPLOY_CACHE": str(room / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=room, env=variables, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path) -> None:
    out = tmp_path / "out"
    train = [DEPLOY, "train", "--recipe", TOY, "--set", "train.steps=3", "--out", out]
    done = run(tmp_path, TORCHRUN, *TWO, *train)
    # The one that follows says nothing on stdout.
    assert done.stdout.split() == [str(out / "network")]
    assert read_spec(out / "network").trained_steps == 3
    # Alone, half as many images make a step: the network of two is not served for it.
    assert "from the store" not in run(tmp_path, *train).stderr


@pytest.mark.slow
def test_two_processes_fine_tune_one_network(tmp_path) -> None:
    """Trained just now, or taken from the store."""
    out = tmp_path / "out"
    given = ("train.steps=2", "precision=int8", "qat.steps=2", "qat.batch_size=2", "qat.workers=0")
    export = [DEPLOY, "export", "--recipe", TOY, *(word for each in given for word in ("--set", each)), "--out", out]
    assert run(tmp_path, TORCHRUN, *TWO, *export).stdout.split() == [str(out / "onnx-fp32")]
    assert read_spec(out / "network-qat").trained_steps == 4
    again = run(tmp_path, TORCHRUN, *TWO, *export, "--set", "qat.steps=3")
    assert read_spec(out / "network-qat").trained_steps == 5
    assert "train" in next(line for line in again.stderr.splitlines() if "from the store" in line)
