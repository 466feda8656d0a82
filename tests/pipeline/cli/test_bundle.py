"""`deploy bundle` as people call it: what it prints, and its exit codes."""

from __future__ import annotations

import pytest
from kit.bundling import failing, saying

from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest


@pytest.fixture(scope="module")
def build(house):
    return house.build().folder


def test_it_says_where_the_bundle_is_and_what_comes_next(build, room) -> None:
    done = room.deploy("bundle", build, "-o", "toy")
    assert (done.returncode, done.stdout) == (0, "toy\n")
    assert done.stderr.endswith("next     deploy verify toy\n")
    assert (room.cwd / "toy" / MANIFEST).is_file()


def test_json_is_the_manifest(build, room) -> None:
    done = room.deploy("bundle", build, "-o", "toy.tar.zst", "--json", "--name", "fair", "--version", "3")
    manifest = Manifest.from_json(done.stdout.encode())
    assert (manifest.name, manifest.version) == ("fair", 3)
    assert (room.cwd / "toy.tar.zst").is_file()


def test_a_verdict_that_is_not_pass_is_exit_code_1(build, room) -> None:
    bad = saying(build, room.cwd / "bad", failing)
    done = room.deploy("bundle", bad, "-o", "toy")
    assert done.returncode == 1
    assert done.stderr.startswith(f"deploy: the verdict of {bad} is FAIL (toy: miou: ")
    assert not (room.cwd / "toy").exists()
    assert room.deploy("bundle", bad, "-o", "toy", "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bundle",), 2, "Missing argument 'BUILD'"),
        (("bundle", "nowhere"), 2, "Missing option '-o'"),
        (("bundle", "nowhere", "-o", "out"), 3, "nowhere is no build: it has no build.json"),
        (("bundle", "nowhere", "-o", "out", "--version", "0"), 2, "--version"),
        (("bundle", "{build}", "-o", "{build}"), 2, "holds files but no bundle"),
        (("bundle", "{build}", "-o", "out", "--backend", "tensorrt"), 2, "no engine of"),
        (("bundle", "{build}", "-o", "/proc/out"), 6, "/proc"),
        (("bundle", "{build}", "-o", "out", "--sign", "nokey.pem"), 3, "nokey.pem cannot be read"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(build, room, arguments, code, said) -> None:
    done = room.deploy(*(word.format(build=build) for word in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("deploy: ")]
    assert said in line
    assert not list(room.cwd.iterdir())
