"""`torchrun … deploy train`: two processes on the CPU train one network, and the first one writes it."""

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


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path) -> None:
    out = tmp_path / "out"
    recipe = ["--recipe", str(TOY), "--set", "train.steps=3", "--out", str(out)]
    done = subprocess.run(
        [TORCHRUN, *TWO, DEPLOY, "train", *recipe],
        cwd=tmp_path,
        env={**os.environ, "VISIONDEPLOY_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The one that follows says nothing on stdout.
    assert done.stdout.split() == [str(out / "network")]
    assert read_spec(out / "network").trained_steps == 3
    # Alone, half as many images make a step: the network of two is not served for it.
    alone = subprocess.run(
        [DEPLOY, "train", *recipe],
        cwd=tmp_path,
        env={**os.environ, "VISIONDEPLOY_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert "from the store" not in alone.stderr
