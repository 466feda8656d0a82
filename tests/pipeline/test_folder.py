"""The folder of a build: what is laid out, what is removed, and what is never touched."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kit.builds import contents
from kit.networks import spec_of
from kit.reports import report

from visiondeploy.errors import InputError, IntegrityError, ResourceError, UsageError
from visiondeploy.pipeline.folder import BUILD, BuildRecord, check_place, check_target, materialise, read_build, verify
from visiondeploy.pipeline.store import Artifact, Step, Store

RECORD = BuildRecord(
    name="toy-fp32",
    visiondeploy="0",
    until="export",
    recipe={},
    spec=spec_of("unet"),
    network="ab",
    parameters=7,
    validation="cd",
    engine=None,
    engines=(),
    baseline=None,
    parity=(),
    stages=(),
)


@pytest.fixture
def artifact(tmp_path):
    """Makes an artifact of files by name."""

    def make(**files: str) -> Artifact:
        def fill(folder: Path) -> dict[str, Any]:
            for name, text in files.items():
                path = folder / name.replace("__", "/")
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            return {}

        return Store(tmp_path / "store").run(Step("toy", 1, {}, files, {}), "toy", fill).artifact

    return make


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "builds" / "toy"


class TestMaterialise:
    def test_lays_artifacts_out_with_their_digests(self, artifact, out) -> None:
        record = materialise(out, {"network": artifact(a="1", log__b="2"), "onnx": artifact(c="3")}, RECORD, report())
        assert {*contents(out)} == {"network/a", "network/log/b", "onnx/c", BUILD}
        assert {*record.files} == {"network/a", "network/log/b", "onnx/c"}
        assert read_build(out) == (record, report())
        verify(out, record)

    def test_copies_only_what_is_not_there(self, artifact, out) -> None:
        materialise(out, {"network": artifact(a="1"), "onnx": artifact(c="3")}, RECORD, None)
        kept = (out / "network" / "a").stat().st_ino
        materialise(out, {"network": artifact(a="1"), "onnx": artifact(c="4")}, RECORD, None)
        assert (out / "network" / "a").stat().st_ino == kept
        assert (out / "onnx" / "c").read_text() == "4"

    def test_a_file_of_the_user_in_a_place_of_the_build_is_left_where_a_folder_goes(self, artifact, out) -> None:
        materialise(out, {"network": artifact(a="1"), "onnx": artifact(c="3")}, RECORD, None)
        (out / "onnx" / "mine").write_text("mine")
        materialise(out, {"network": artifact(a="1")}, RECORD, None)
        assert {*contents(out)} == {"network/a", "onnx/mine", BUILD}

    def test_a_link_is_replaced_and_what_it_points_to_is_not_written(self, artifact, out, tmp_path) -> None:
        materialise(out, {"network": artifact(a="1")}, RECORD, None)
        (tmp_path / "mine").write_text("mine")
        (out / "network" / "a").unlink()
        (out / "network" / "a").symlink_to(tmp_path / "mine")
        record = materialise(out, {"network": artifact(a="1")}, RECORD, None)
        assert (tmp_path / "mine").read_text() == "mine"
        assert not (out / "network" / "a").is_symlink()
        verify(out, record)

    def test_an_artifact_that_vanishes_leaves_an_incomplete_folder_that_is_completed_later(self, artifact, out) -> None:
        network, onnx = artifact(a="1"), artifact(c="3")
        (onnx.folder / "c").unlink()
        with pytest.raises(IntegrityError, match="c cannot be read"):
            materialise(out, {"network": network, "onnx": onnx}, RECORD, None)
        with pytest.raises(InputError, match="is incomplete"):
            read_build(out)
        check_target(out)
        record = materialise(out, {"network": network, "onnx": artifact(c="3")}, RECORD, None)
        assert read_build(out) == (record, None)

    def test_what_an_interrupted_build_had_copied_is_known_to_the_next(self, artifact, out) -> None:
        onnx = artifact(c="3")
        (onnx.folder / "c").unlink()
        with pytest.raises(IntegrityError):
            materialise(out, {"network": artifact(a="1"), "onnx": onnx}, RECORD, None)
        assert (out / "network" / "a").exists()
        materialise(out, {"engines": artifact(e="5")}, RECORD, None)
        assert {*contents(out)} == {"engines/e", BUILD}

    def test_a_folder_in_the_place_of_a_file_is_said(self, artifact, out) -> None:
        (out / "network").mkdir(parents=True)
        (out / "network" / "a").mkdir()
        (out / "network" / "network.json").write_text("{}")
        (out / BUILD).write_text("damaged")
        with pytest.raises(ResourceError, match=r"a is a folder, but a file has to be written there"):
            materialise(out, {"network": artifact(a="1")}, RECORD, None)

    def test_through_a_link_to_a_folder(self, artifact, tmp_path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to("disk")
        record = materialise(tmp_path / "link", {"network": artifact(a="1")}, RECORD, None)
        assert read_build(tmp_path / "disk") == (record, None)


names = st.one_of(
    st.text(st.sampled_from("./ab\0\n\\~"), max_size=12),
    st.lists(st.sampled_from(["..", ".", "a", "link", "victim", "kept", "", "x" * 300]), max_size=5).map("/".join),
    st.text(max_size=8),
)


class TestLock:
    def test_builds_into_one_folder_wait_for_each_other_and_nothing_is_left(self, artifact, out) -> None:
        network = artifact(a="1")
        out.mkdir(parents=True)
        other = os.open(out, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)
        second = threading.Thread(target=materialise, args=(out, {"network": network}, RECORD, None))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert contents(out) == {}
        os.close(other)
        second.join(60)
        assert {*contents(out)} == {"network/a", BUILD}
        assert [path.name for path in out.parent.iterdir()] == [out.name]

    def test_a_file_system_without_locks_for_folders_is_no_hindrance(self, artifact, out, monkeypatch) -> None:
        def refuse(number: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        network = artifact(a="1")  # made before: the store has locks too
        monkeypatch.setattr(fcntl, "flock", refuse)
        record = materialise(out, {"network": network}, RECORD, None)
        assert read_build(out) == (record, None)

    def test_the_folder_above_need_not_be_written_to(self, artifact, out, monkeypatch) -> None:
        """The superuser may write anywhere, so it is watched what is written."""
        materialise(out, {"network": artifact(a="1")}, RECORD, None)
        before = out.parent.stat().st_mtime_ns
        materialise(out, {"network": artifact(a="2")}, RECORD, None)
        assert out.parent.stat().st_mtime_ns == before


class TestEditedRecord:
    """Whoever edits build.json must not thereby make a later build delete what lies elsewhere."""

    @given(st.lists(names, max_size=4))
    @example(["../victim"])
    @example(["/victim"])
    @example(["a/../../victim"])
    @example(["link/victim"])
    @example(["", ".", "a", "..", BUILD])
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_never_deletes_outside_the_folder(self, artifact, tmp_path, names) -> None:
        victims = [tmp_path / "builds" / "victim", tmp_path / "elsewhere" / "victim"]
        for victim in victims:
            victim.parent.mkdir(exist_ok=True)
            victim.write_text("mine")
        out = tmp_path / "builds" / "toy"
        materialise(out, {"network": artifact(a="1")}, RECORD, None)
        if not (out / "link").is_symlink():
            (out / "link").symlink_to(tmp_path / "elsewhere")
        found = json.loads((out / BUILD).read_text())
        found["build"]["files"] |= dict.fromkeys([*names, str(victims[0])], "0")
        (out / BUILD).write_text(json.dumps(found))
        record = materialise(out, {"network": artifact(a="1")}, RECORD, None)
        assert [victim.read_text() for victim in victims] == ["mine", "mine"]
        assert read_build(out) == (record, None)
        verify(out, record)

    @pytest.mark.parametrize("files", ["[]", "7", "null", '"a"', '{"a": 7}', '{"a": null}', "{}"])
    def test_whatever_the_list_of_files_is_the_same_build_mends_it(self, artifact, out, files) -> None:
        (out / "network").mkdir(parents=True)
        (out / "network" / "network.json").write_text("{}")
        (out / BUILD).write_text(f'{{"build": {{"files": {files}}}}}')
        record = materialise(out, {"network": artifact(a="1")}, RECORD, None)
        assert read_build(out) == (record, None)


class TestTarget:
    def test_new_and_empty_folders_are_good(self, out) -> None:
        check_target(out)
        assert not out.parent.exists()
        out.mkdir(parents=True)
        check_target(out)

    @pytest.mark.parametrize("content", ["{}", "[]", '{"build": 1}', "[" * 10**5, '{"name": "webpack"}', ""])
    def test_a_build_json_of_another_program_is_not_overwritten(self, artifact, out, content) -> None:
        out.mkdir(parents=True)
        (out / BUILD).write_text(content)
        for call in (lambda: check_target(out), lambda: materialise(out, {"network": artifact(a="1")}, RECORD, None)):
            with pytest.raises(UsageError, match=r"build\.json is not the record of a build"):
                call()
        assert contents(out) == {BUILD: content.encode()}

    def test_a_place_that_takes_nothing_new_is_said_at_once(self, tmp_path, monkeypatch) -> None:
        """As /proc, which has all permissions and refuses."""

        def refuse(self: Path, exist_ok: bool) -> None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

        monkeypatch.setattr(Path, "touch", refuse)
        with pytest.raises(ResourceError, match=rf"out cannot be made, as {tmp_path} takes nothing new \(No such file"):
            check_target(tmp_path / "out")
        check_target(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
    def test_a_folder_that_may_not_be_written(self, tmp_path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(ResourceError, match="permission denied"):
            check_place(tmp_path / "out")


class TestRead:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is not a build's record"),
            (b"\xff", "is not a build's record"),
            (b"[]", "is not a build's record"),
            (b"{}", "is not a build's record"),
            (b"[" * 10**5, "is not a build's record"),
            (b'{"build": {}}', "is not a build's record"),
            (b'{"incomplete": true}', "is incomplete"),
            (b'{"build": %s}' % (b"9" * 6000), "is not a build's record"),
        ],
    )
    def test_what_is_no_record_is_one_sentence(self, tmp_path, content, words) -> None:
        (tmp_path / BUILD).write_bytes(content)
        with pytest.raises(InputError, match=words) as error:
            read_build(tmp_path)
        assert "\n" not in str(error.value)

    def test_what_is_no_folder(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"is no build: it has no build\.json; make one"):
            read_build(tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be read: Not a directory"):
            read_build(tmp_path / "file")
        with pytest.raises(InputError, match="cannot be read: File name too long"):
            read_build(tmp_path / ("x" * 300))

    def test_what_never_ends_is_not_waited_for(self, tmp_path) -> None:
        os.mkfifo(tmp_path / BUILD)
        with pytest.raises(InputError, match="cannot be read: not a regular file"):
            read_build(tmp_path)
        (tmp_path / BUILD).unlink()
        (tmp_path / BUILD).symlink_to("/dev/zero")
        with pytest.raises(InputError, match="cannot be read: not a regular file"):
            read_build(tmp_path)

    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_damage_is_never_a_traceback(self, artifact, out, data) -> None:
        """A byte of the record is lost or changed: it reads as what it says, or is refused in a sentence."""
        shutil.rmtree(out, ignore_errors=True)
        materialise(out, {"network": artifact(a="1")}, RECORD, report())
        whole = (out / BUILD).read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        (out / BUILD).write_bytes(whole[:place] + data.draw(st.binary(max_size=2)) + whole[place + 1 :])
        said = ""
        try:
            read_build(out)
        except InputError as error:
            said = str(error)
        assert "\n" not in said


class TestVerify:
    def test_names_the_first_that_differs(self, artifact, out) -> None:
        record = materialise(out, {"network": artifact(a="1"), "onnx": artifact(c="3")}, RECORD, None)
        (out / "onnx" / "c").write_text("4")
        verify(out, record, ("network/",))
        with pytest.raises(IntegrityError, match=r"c has other bytes than were built: run the same `deploy build`"):
            verify(out, record)
        (out / "onnx" / "c").unlink()
        with pytest.raises(IntegrityError, match="c is missing"):
            verify(out, record)

    def test_a_link_is_not_what_was_built(self, artifact, out) -> None:
        record = materialise(out, {"network": artifact(a="1")}, RECORD, None)
        (out / "network" / "a").rename(out / "b")
        (out / "network" / "a").symlink_to(out / "b")
        with pytest.raises(IntegrityError):
            verify(out, record)
