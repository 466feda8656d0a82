"""A bundle appears whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from kit.builds import DEPLOY, contents
from kit.bundles import write_bundle
from kit.bundling import bundled

from visiondeploy.errors import ResourceError, UsageError
from visiondeploy.pipeline.bundle import golden
from visiondeploy.pipeline.bundle.manifest import MANIFEST
from visiondeploy.pipeline.bundle.place import appearing, check_target


def appear(target, **files: bytes) -> None:
    """A bundle with a manifest and more files."""
    with appearing(target) as folder:
        write_bundle(folder)
        for name, data in files.items():
            (folder / name).write_bytes(data)


def fail(target, error: BaseException) -> None:
    """A bundle that an error ends."""
    with appearing(target) as folder:
        write_bundle(folder)
        raise error


class TestAppearing:
    @pytest.mark.parametrize("name", ["toy", "toy.tar.zst"])
    def test_nothing_lies_beside_it_afterwards(self, tmp_path, name) -> None:
        appear(tmp_path / "new" / name)
        assert [path.name for path in (tmp_path / "new").iterdir()] == [name]

    @pytest.mark.parametrize("name", ["toy", "toy.tar.zst"])
    def test_nothing_is_left_of_one_that_fails(self, tmp_path, name) -> None:
        with pytest.raises(KeyboardInterrupt):
            fail(tmp_path / name, KeyboardInterrupt())
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_a_resource_error(self, tmp_path) -> None:
        with pytest.raises(ResourceError, match="disk is full") as caught:
            fail(tmp_path / "toy", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        assert caught.value.exit_code == 6
        assert not list(tmp_path.iterdir())

    def test_while_it_is_made_nothing_is_at_its_place(self, tmp_path) -> None:
        with appearing(tmp_path / "toy") as folder:
            write_bundle(folder)
            assert not (tmp_path / "toy").exists()
        assert (tmp_path / "toy" / MANIFEST).is_file()

    def test_what_a_killed_run_left_is_removed_and_nothing_else(self, tmp_path) -> None:
        left = tmp_path / ".toy.0123456789abcdef.bundling"
        others = {".toy.bundling", ".other.0123456789abcdef.bundling", ".toy.0123456789abcdef.bundling.txt"}
        for name in (left.name, *others):
            (tmp_path / name).mkdir()
        (left / "bundle").mkdir()
        appear(tmp_path / "toy")
        assert {path.name for path in tmp_path.iterdir()} == {"toy", *others}

    def test_an_empty_folder_may_be_there(self, tmp_path) -> None:
        (tmp_path / "toy").mkdir()
        appear(tmp_path / "toy")
        assert (tmp_path / "toy" / MANIFEST).is_file()

    @pytest.mark.parametrize("name", ["toy", "toy.tar.zst"])
    def test_the_same_may_be_there_and_another_may_not(self, tmp_path, name) -> None:
        appear(tmp_path / name)
        appear(tmp_path / name)
        before = contents(tmp_path)
        with pytest.raises(UsageError, match="another bundle"), appearing(tmp_path / name) as folder:
            write_bundle(folder, {"MODEL_CARD.md": ("card", b"# other\n"), "engine/x.onnx": ("engine", b"x")})
        assert contents(tmp_path) == before

    def test_one_with_a_file_more_is_another(self, tmp_path) -> None:
        appear(tmp_path / "toy")
        with pytest.raises(UsageError, match="another bundle"):
            appear(tmp_path / "toy", more=b"")

    def test_two_at_once_wait_for_each_other(self, tmp_path) -> None:
        code = f"""
from pathlib import Path
from kit.bundles import write_bundle
from visiondeploy.pipeline.bundle.place import appearing
with appearing(Path({str(tmp_path / "toy")!r})) as folder:
    write_bundle(folder)
"""
        python = DEPLOY.with_name("python")
        runs = [
            subprocess.Popen([python, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
            for _ in range(3)
        ]
        assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
        assert [path.name for path in tmp_path.iterdir()] == ["toy"]


class TestTargets:
    def test_a_folder_of_somebody_else_is_refused(self, tmp_path) -> None:
        (tmp_path / "notes.txt").touch()
        with pytest.raises(UsageError, match="holds files but no bundle"):
            check_target(tmp_path)

    def test_a_file_is_no_folder_and_a_folder_no_archive(self, tmp_path) -> None:
        (tmp_path / "toy").touch()
        (tmp_path / "toy.tar.zst").mkdir()
        with pytest.raises(UsageError, match="is no folder"):
            check_target(tmp_path / "toy")
        with pytest.raises(UsageError, match="is a folder"):
            check_target(tmp_path / "toy.tar.zst")

    def test_a_link_that_leads_nowhere_is_refused(self, tmp_path) -> None:
        (tmp_path / "toy").symlink_to("nowhere")
        with pytest.raises(UsageError, match="is no folder"):
            check_target(tmp_path / "toy")

    def test_a_place_below_a_file_cannot_be_written(self, tmp_path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ResourceError, match="is a file, but a folder is needed"):
            check_target(tmp_path / "file" / "toy")

    def test_nor_can_one_in_proc(self, tmp_path) -> None:
        with pytest.raises(ResourceError):
            check_target(tmp_path.joinpath("/proc/sys/toy"))


class TestARealBundle:
    @pytest.mark.parametrize("name", ["out", "out.tar.zst"])
    def test_a_disk_that_fills_leaves_nothing(self, floats, tmp_path, monkeypatch, name) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(golden, "write", full)
        with pytest.raises(ResourceError, match="disk is full"):
            bundled(floats, tmp_path / name, backend="onnxruntime")
        assert not list(tmp_path.iterdir())

    def test_killed_at_any_moment_the_next_run_completes(self, floats, of_onnxruntime, tmp_path) -> None:
        target = tmp_path / "toy-fp32"
        command = [DEPLOY, "bundle", floats, "-o", target, "--backend", "onnxruntime"]
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not list(tmp_path.iterdir()) and run.poll() is None:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not target.exists() or contents(target) == contents(of_onnxruntime)
        bundled(floats, target, backend="onnxruntime")
        assert contents(target) == contents(of_onnxruntime)
        assert [path.name for path in tmp_path.iterdir()] == ["toy-fp32"]
