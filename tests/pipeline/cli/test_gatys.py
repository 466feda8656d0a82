"""`deploy predict --method gatys` as a user meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit.builds import DEPLOY
from kit.pictures import painting, photograph
from PIL import Image as Pillow

from visiondeploy.models.data.images import read_image

GATYS = ["predict", "--method", "gatys"]
CALL = [*GATYS, "--style", "painting.png", "photo.png", "-o", "out.png"]


@pytest.fixture
def room(tmp_path) -> Path:
    """A folder with a photograph and a painting."""
    Pillow.fromarray(photograph(128, 192)).save(tmp_path / "photo.png")
    Pillow.fromarray(painting()).save(tmp_path / "painting.png")
    return tmp_path


@pytest.fixture(autouse=True)
def interruptible():
    """A job in a shell's background ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(room: Path, *arguments: str) -> subprocess.Popen[str]:
    variables = os.environ | {"VISIONDEPLOY_CACHE": str(room / "cache")}
    command = [str(DEPLOY), *arguments]
    return subprocess.Popen(command, cwd=room, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(room: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(room, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def begun(room: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the first preview, and a state to go on from."""
    for _ in range(6000):
        if process.poll() is not None or (room / "out.preview.jpg").exists():
            return
        time.sleep(0.01)


def test_prints_where_the_picture_is(room) -> None:
    code, out, err = run(room, *CALL, "--iterations", "3", "--size", "64", "--threads", "1")
    assert (code, out) == (0, "out.png\n"), err
    assert "✓ stylise" in err
    assert read_image(room / "out.png").shape == (43, 64, 3)


def test_after_ctrl_c_and_after_kill_the_same_command_goes_on(room) -> None:
    call = [*CALL, "--iterations", "24", "--size", "80", "--threads", "1"]
    process = start(room, *call)
    begun(room, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "deploy: interrupted; run the same command again to go on."
    assert (room / "out.preview.jpg").exists()
    assert not (room / "out.png").exists()

    (room / "out.preview.jpg").unlink()
    process = start(room, *call)
    begun(room, process)
    process.kill()
    process.communicate()
    assert not (room / "out.png").exists()

    code, out, err = run(room, *call)
    assert (code, out) == (0, "out.png\n"), err
    assert not (room / "out.preview.jpg").exists()
    assert [path.name for path in (room / "cache" / "work").iterdir()] == []

    code, _, err = run(room, *call[:-6], "--overwrite", *call[-6:])
    assert (code, "from the store" in err) == (0, True), err


BAD = {
    "no painting": ([*GATYS, "photo.png", "-o", "out.png"], 2, "--method gatys needs a painting: name its file"),
    "no photograph": ([*GATYS, "--style", "painting.png", "-o", "out.png"], 2, "Missing argument 'IMAGE'"),
    "a build": ([*CALL, "builds/x"], 2, "unexpected extra argument (builds/x)"),
    "engine's option": ([*CALL, "--tile", "256"], 2, "--tile was given, and --method gatys runs no engine: leave it"),
    "gatys's option": (["predict", "builds/x", "photo.png", "-o", "o.png", "--size", "99"], 2, "--size was given, and"),
    "neither build nor image": (["predict", "-o", "out.png"], 2, "Missing argument 'BUILD'"),
    "method": (["predict", "--method", "gaty", "x", "-o", "out.png"], 2, "'gaty' is not one of 'engine', 'gatys'"),
    "iterations": ([*CALL, "--iterations", "0"], 2, "'--iterations': 0 is not in the range"),
    "size": ([*CALL, "--size", "5000"], 2, "'--size': 5000 is not in the range 32<=x<=4096"),
    "weight": ([*CALL, "--style-weight", "nan"], 2, "nan is no weight: write a number, as 10"),
    "negative weight": ([*CALL, "--content-weight", "-1"], 2, "-1.0 is not in the range"),
    "no weight": ([*CALL, "--content-weight", "0", "--style-weight", "0"], 2, "both 0, so that nothing is aimed at"),
    "features": ([*CALL, "--features", "vgg20"], 2, "there is no feature network 'vgg20': did you mean 'vgg"),
    "features not here": ([*CALL, "--features", "vgg19"], 5, "run `deploy weights fetch vgg19`"),
    "painting missing": ([*GATYS, "--style", "no.png", *CALL[5:]], 3, "'no.png' cannot be opened"),
    "photograph empty": ([*CALL[:5], "empty.png", *CALL[6:]], 3, "'empty.png' is empty (0 bytes)"),
    "photograph missing": ([*CALL[:5], "no.png", *CALL[6:]], 3, "there is no 'no.png'"),
    "photograph too small": ([*CALL[:5], "small.png", *CALL[6:]], 3, "small.png: the photograph is 8×8 pixels"),
    "photograph too thin": ([*CALL, "--size", "40"], 3, "photo.png: the photograph is 192×128 pixels, and with 40"),
    "folder of the target": ([*CALL[:7], "no/out.png", *CALL[8:]], 2, "there is no folder no"),
    "format of the target": ([*CALL[:7], "out.gif", *CALL[8:]], 2, "out.gif"),
    "target there": ([*CALL[:7], "empty.png", *CALL[8:]], 2, "empty.png would be overwritten: add --overwrite"),
}


@pytest.mark.parametrize(("call", "code", "message"), BAD.values(), ids=BAD)
def test_what_is_off_is_one_sentence(room, call, code, message, capsys, monkeypatch) -> None:
    from visiondeploy.pipeline.cli import main

    (room / "empty.png").write_bytes(b"")
    Pillow.fromarray(photograph(8, 8)).save(room / "small.png")
    monkeypatch.chdir(room)
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(room / "cache"))
    monkeypatch.setattr(sys, "argv", ["deploy", *call])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert message in err
    assert left.value.code == code
    assert not (room / "out.png").exists()
