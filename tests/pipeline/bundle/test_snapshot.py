"""A folder is copied when it is the bundle that its manifest lists, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.builds import contents
from kit.bundles import put, write_bundle

from visiondeploy.errors import InputError, IntegrityError, ResourceError
from visiondeploy.pipeline.bundle.archive import pack
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE
from visiondeploy.pipeline.bundle.snapshot import snapshot


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(tmp_path / "toy")


def check(bundle: Path) -> None:
    with snapshot(bundle):
        pass


def test_the_copy_is_whole_private_and_removed(bundle) -> None:
    put(bundle / SIGNATURE, b"{}")
    with snapshot(bundle) as copy:
        assert contents(copy.folder) == contents(bundle)
        assert copy.folder.parent.stat().st_mode & 0o777 == 0o700
    assert not copy.folder.parent.exists()


def test_it_does_not_change_when_the_bundle_does(bundle) -> None:
    with snapshot(bundle) as copy:
        before = contents(copy.folder)
        put(bundle / "engine" / "model.onnx", b"other")
        assert contents(copy.folder) == before


def test_folder_and_archive_give_the_same(bundle, tmp_path) -> None:
    pack(bundle, tmp_path / "toy.tar.zst")
    with snapshot(bundle) as one, snapshot(tmp_path / "toy.tar.zst") as other:
        assert contents(one.folder) == contents(other.folder)
        assert one.size == other.size == 6 + 10240 + 10


def link(bundle: Path) -> None:
    (bundle / "engine" / "model.onnx").rename(bundle.parent / "elsewhere")
    (bundle / "engine" / "model.onnx").symlink_to(bundle.parent / "elsewhere")


def linked_folder(bundle: Path) -> None:
    (bundle / "engine").rename(bundle.parent / "elsewhere")
    (bundle / "engine").symlink_to(bundle.parent / "elsewhere")


def fifo(bundle: Path) -> None:
    (bundle / "MODEL_CARD.md").unlink()
    os.mkfifo(bundle / "MODEL_CARD.md", 0o644)


def listening(bundle: Path) -> None:
    (bundle / "MODEL_CARD.md").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(bundle / "MODEL_CARD.md"))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "extra file": (lambda at: put(at / "extra", b""), "not its own"),
    "extra file beside the engine": (lambda at: put(at / "engine" / "model.data", b""), "not its own"),
    "extra file of Git's": (lambda at: put(at / ".gitattributes", b""), "not its own"),
    "extra folder of GitHub's": (lambda at: put(at / ".github" / "x.yml", b""), "holds nothing"),
    "empty folder": (lambda at: (at / "engine" / "empty").mkdir(), "holds nothing"),
    "missing file": (lambda at: (at / "MODEL_CARD.md").unlink(), "lacks MODEL_CARD.md"),
    "missing folder": (lambda at: shutil.rmtree(at / "engine"), "lacks engine/model.onnx"),
    "renamed": (lambda at: (at / "MODEL_CARD.md").rename(at / "model_card.md"), "not its own"),
    "shorter": (lambda at: put(at / "MODEL_CARD.md", b"#"), "1 bytes, expected 6"),
    "longer": (lambda at: put(at / "report" / "report.json", b"{}"), "2 bytes, expected 0"),
    "file for a folder": (lambda at: (shutil.rmtree(at / "report"), put(at / "report", b"")), "expected a folder"),
    "folder for a file": (
        lambda at: ((at / "MODEL_CARD.md").unlink(), (at / "MODEL_CARD.md").mkdir(mode=0o755)),
        "a folder, expected a regular file",
    ),
    "symbolic link": (link, "a symbolic link"),
    "symbolic link to a folder": (linked_folder, "a symbolic link, expected a folder"),
    "FIFO": (fifo, "a FIFO"),
    "socket": (listening, "a socket"),
    "executable": (lambda at: (at / "MODEL_CARD.md").chmod(0o755), "mode 0755"),
    "written by all": (lambda at: (at / "engine").chmod(0o777), "mode 0777"),
    "setuid": (lambda at: (at / "engine" / "model.onnx").chmod(0o4644), "mode 4644"),
    "large signature": (lambda at: put(at / SIGNATURE, bytes((4 << 20) + 1)), "4,194,305 bytes"),
    "edited manifest": (lambda at: put(at / MANIFEST, (at / MANIFEST).read_bytes() + b"\n"), "spelt"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_bundle_that_was_changed_is_refused(name, bundle) -> None:
    change, words = CHANGES[name]
    change(bundle)
    with pytest.raises(IntegrityError, match=words):
        check(bundle)


NO_BUNDLES: dict[str, Callable[[Path], object]] = {
    "absent": shutil.rmtree,
    "no manifest": lambda at: (at / MANIFEST).unlink(),
    "empty manifest": lambda at: put(at / MANIFEST, b""),
    "other JSON": lambda at: put(at / MANIFEST, b"{}"),
    "large manifest": lambda at: put(at / MANIFEST, b" " * ((4 << 20) + 1)),
    "manifest is a folder": lambda at: ((at / MANIFEST).unlink(), (at / MANIFEST).mkdir()),
}


@pytest.mark.parametrize("name", NO_BUNDLES)
def test_what_is_no_bundle_is_said_to_be_none(name, bundle) -> None:
    NO_BUNDLES[name](bundle)
    with pytest.raises(InputError):
        check(bundle)


def test_a_place_for_the_copy_that_is_not_there_is_named(bundle, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ResourceError, match="gone"):
        check(bundle)
