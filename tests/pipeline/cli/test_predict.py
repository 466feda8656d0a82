"""`deploy predict` as a user meets it: streams, exit codes, sentences."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pytest
from kit.builds import DEPLOY, House
from PIL import Image as Pillow

from visiondeploy.pipeline.cli import main
from visiondeploy.pipeline.cli.predict import command
from visiondeploy.pipeline.picturing import Output

BUILD = "builds/toy-fp32-onnxruntime"


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    room = House(store_root, tmp_path_factory.mktemp("predict"))
    room.build("backend=onnxruntime", until="compile")
    (room.cwd / "photos").mkdir()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(room.cwd / "a.png")
    (room.cwd / "photos" / "a.png").write_bytes((room.cwd / "a.png").read_bytes())
    (room.cwd / "photos" / "b.jpg").touch()
    return room


def piped(room: House, arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's command line, with `deploy predict` written as `PREDICT`."""
    line = arguments.replace("PREDICT", f"{DEPLOY} predict {BUILD}")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=room.cwd, input=data, capture_output=True, timeout=120, check=False
    )


def test_the_outputs_are_those_that_exist() -> None:
    (option,) = [parameter for parameter in command.params if parameter.name == "output"]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(Output)


def test_one_image(room) -> None:
    done = room.deploy("predict", BUILD, "a.png", "-o", "one.png", "--output", "classes", "--threads", "1")
    assert (done.returncode, done.stdout) == (0, "one.png\n")
    assert done.stderr.startswith("✓ predict")
    with Pillow.open(room.cwd / "one.png") as picture:
        assert (picture.size, picture.mode) == ((60, 40), "P")


def test_a_folder_with_a_broken_image_ends_with_3_after_the_others(room) -> None:
    done = room.deploy("predict", BUILD, "photos", "-o", "new", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert [picture["output"] for picture in found["pictures"]] == ["new/a.png", None]
    assert found["backend"] == "onnxruntime"
    warning, stage, sentence = done.stderr.splitlines()
    assert warning == f"! {found['pictures'][1]['error']}"
    assert stage.startswith("✓ predict")
    assert sentence.startswith("deploy: 1 of 2 images were left out; the first: 'photos/b.jpg' is empty")
    assert [path.name for path in (room.cwd / "new").iterdir()] == ["a.png"]


def test_from_stdin_to_stdout(room) -> None:
    done = piped(room, "PREDICT - -o -", (room.cwd / "a.png").read_bytes())
    assert done.returncode == 0, done.stderr
    with Pillow.open(io.BytesIO(done.stdout)) as picture:
        assert (picture.format, picture.size) == ("PNG", (60, 40))


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("PREDICT - -o - < /dev/null", 3, "stdin is empty (0 bytes)"),
        ("PREDICT - -o - <&-", 3, "stdin is empty (0 bytes)"),
        ("PREDICT a.png -o - >&-", 0, ""),
        ("PREDICT a.png -o - | true", 0, ""),
        ("PREDICT a.png -o - > /dev/full", 6, "the disk is full"),
    ],
)
def test_streams_that_lead_nowhere(room, line, code, words) -> None:
    done = piped(room, line)
    assert done.returncode == code, done.stderr
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("✓")]
    assert len(said) == bool(words)
    assert all(words in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.png"], 2, "Missing option '-o'"),
        (["nowhere.png", "-o", "x.png"], 3, "there is no 'nowhere.png'"),
        (["no\nwhere.png", "-o", "x.png"], 3, r"there is no 'no\nwhere.png'"),
        (["a.png", "-o", "x.gif"], 2, "does not end as a picture's name"),
        (["a.png", "-o", "a.png"], 2, "a.png is the input itself"),
        (["a.png", "-o", "a.png", "--overwrite"], 2, "a.png is the input itself"),
        (["a.png", "-o", "x.png", "--overwrite", "--keep"], 2, "--overwrite and --keep were both given"),
        (["a.png", "-o", "-", "--json"], 2, "--json and -o - both write to stdout"),
        (["a.png", "-o", "x.png", "--output", "labels"], 2, "'labels' is not one of"),
        (["a.png", "-o", "x.png", "--backend", "openvino"], 2, "there is no engine of"),
        (["a.png", "-o", "x.png", "--tile", "512"], 2, "--tile is for networks that paint"),
        (["a.png", "-o", "x.png", "--batch", "-1"], 2, "-1 is not in the range"),
        (["photos/b.jpg", "-o", "x.png"], 3, "'photos/b.jpg' is empty"),
        (["photos", "-o", "a.png"], 6, "a.png is a file, but a folder is needed there"),
    ],
)
def test_bad_input_is_one_sentence_with_its_exit_code(room, arguments, code, words, monkeypatch, capsys) -> None:
    """In this process, as starts take longer than what is tested."""
    before = sorted(path.name for path in room.cwd.rglob("*"))
    monkeypatch.chdir(room.cwd)
    monkeypatch.setattr(sys, "argv", ["deploy", "predict", BUILD, *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if not line.startswith("✓")]
    assert (left.value.code, out) == (code, "")
    assert len(said) == 1
    assert words in said[0]
    assert sorted(path.name for path in room.cwd.rglob("*")) == before


@pytest.fixture
def interruptible():
    """A job in a shell's background ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupted_it_leaves_whole_pictures_alone(room, tmp_path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    data = (room.cwd / "a.png").read_bytes()
    for number in range(1000):
        (source / f"{number:04}.png").write_bytes(data)
    arguments = [str(DEPLOY), "predict", BUILD, str(source), "-o", str(target)]
    process = subprocess.Popen(arguments, cwd=room.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (target.is_dir() and len(list(target.iterdir())) > 4):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "deploy: interrupted; run the same command again to go on."
    done = sorted(target.iterdir())
    assert 3 < len(done) < 1000
    for path in done:
        assert path.suffix == ".png", "nothing half-written is left"
        with Pillow.open(path) as picture:
            picture.load()
