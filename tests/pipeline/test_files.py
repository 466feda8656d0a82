import hashlib
import os
from pathlib import Path

import pytest

from visiondeploy.errors import InputError, IntegrityError, ResourceError
from visiondeploy.pipeline.files import copy_verified, replacing, sha256_file, write_atomic


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestWriteAtomic:
    def test_writes_and_replaces(self, tmp_path: Path) -> None:
        path = tmp_path / "build.json"
        write_atomic(path, "µ\n")
        assert path.read_bytes() == b"\xc2\xb5\n"
        write_atomic(path, b"\x00")
        assert path.read_bytes() == b"\x00"
        assert list(tmp_path.iterdir()) == [path]

    def test_mode_follows_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_atomic(tmp_path / "x", b"")
        finally:
            os.umask(before)
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640

    def test_a_name_as_long_as_allowed(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / ("n" * 255), b"x")

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_failure_keeps_the_old_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"old")

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, call, full)
        with pytest.raises(ResourceError, match=r"x: the disk is full"):
            write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_interrupt_keeps_the_old_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"old")

        def write() -> None:
            with replacing(path) as file:
                file.write(b"new")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write()
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_says_what_is_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "folder").mkdir()
        with pytest.raises(ResourceError, match=r"none/x does not exist"):
            write_atomic(tmp_path / "none" / "x", b"")
        with pytest.raises(ResourceError, match=r"/file is not a folder, but one is needed; move it away"):
            write_atomic(tmp_path / "file" / "x", b"")
        with pytest.raises(ResourceError, match=r"/folder is a folder, but a file has to be written there"):
            write_atomic(tmp_path / "folder", b"")


class TestCopyVerified:
    def test_copies(self, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        (tmp_path / "a").write_bytes(data)
        copy_verified(tmp_path / "a", digest(data), tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == data

    def test_other_bytes_do_not_arrive(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"tampered")
        (tmp_path / "b").write_bytes(b"old")
        with pytest.raises(IntegrityError, match=r"a has the digest [0-9a-f]{12}…, recorded is [0-9a-f]{12}…"):
            copy_verified(tmp_path / "a", digest(b"recorded"), tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def test_sources_that_are_no_files(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"x")
        (tmp_path / "link").symlink_to("real")
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "fifo")
        for name in ("link", "folder", "fifo", "none"):
            with pytest.raises(IntegrityError, match=f"{name} cannot be read"):
                copy_verified(tmp_path / name, digest(b"x"), tmp_path / "b")
        assert not (tmp_path / "b").exists()

    def test_target_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x")
        with pytest.raises(ResourceError, match="none/b does not exist"):
            copy_verified(tmp_path / "a", digest(b"x"), tmp_path / "none" / "b")


def test_sha256_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == digest(b"abc")
    with pytest.raises(InputError, match=r"none cannot be read: No such file"):
        sha256_file(tmp_path / "none")
