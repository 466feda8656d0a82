import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from kit.stores import META, STEP, WEIGHTS, fill, flip, leftovers, never

from visiondeploy.errors import InputError, ResourceError
from visiondeploy.models.cache import default_root
from visiondeploy.pipeline.artifact import DESCRIPTION
from visiondeploy.pipeline.store import Json, Step, Store, key, tool_versions
from visiondeploy.types import Settings


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> Store:
    return Store(tmp_path / "cache", on_warning=warnings.append)


class TestKey:
    def test_is_the_same_for_the_same_step_however_it_is_spelled(self) -> None:
        class Export(Settings):
            opset: int = 20

        assert key("export", 1, {"b": "2", "a": "1"}, Export(), {}) == key(
            "export", 1, {"a": "1", "b": "2"}, {"opset": 20}, {}
        )

    @pytest.mark.parametrize(
        "other",
        [
            Step("compile", 1, {"network": "ab"}, {"opset": 20}, {"onnx": "1.21"}),
            Step("export", 2, {"network": "ab"}, {"opset": 20}, {"onnx": "1.21"}),
            Step("export", 1, {"network": "ac"}, {"opset": 20}, {"onnx": "1.21"}),
            Step("export", 1, {"net": "ab"}, {"opset": 20}, {"onnx": "1.21"}),
            Step("export", 1, {"network": "ab"}, {"opset": 20.0}, {"onnx": "1.21"}),
            Step("export", 1, {"network": "ab"}, {"opset": 20}, {"onnx": "1.22"}),
        ],
    )
    def test_differs_in_every_part(self, other: Step) -> None:
        assert other.key != STEP.key

    def test_refuses_what_is_not_json(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            key("export", 1, {}, {"tolerance": float("nan")}, {})

    def test_tool_versions_imports_nothing(self) -> None:
        found = tool_versions("torch", "no-such-package")
        assert found["no-such-package"] == "absent"
        assert found["torch"][0].isdigit()

    def test_get_refuses_a_key_that_could_leave_the_store(self, store: Store) -> None:
        with pytest.raises(ValueError, match="not a key"):
            store.get("../../../etc")


class TestRun:
    def test_makes_once_then_serves(self, store: Store, warnings: list[str]) -> None:
        assert store.get(STEP.key) is None
        first = store.run(STEP, "onnx", fill)
        second = store.run(STEP, "onnx", never)
        assert (first.cached, second.cached) == (False, True)
        assert first.artifact == second.artifact == store.get(STEP.key)
        assert second.artifact.path("model.onnx").read_bytes() == WEIGHTS
        assert set(second.artifact.files) == {"model.onnx", "data/labels.txt"}
        assert second.artifact.meta == META
        assert second.artifact.made_by.settings == {"opset": 20}
        assert warnings == []
        assert leftovers(store) == []

    def test_two_routes_to_the_same_bytes_have_one_digest(self, store: Store) -> None:
        def other_meta(folder: Path) -> Mapping[str, Json]:
            fill(folder)
            return {"nodes": 8}

        here = store.run(STEP, "onnx", fill).artifact
        there = store.run(Step("simplify", 1, {}, {}, {}), "onnx", fill).artifact
        other = store.run(Step("simplify", 2, {}, {}, {}), "onnx", other_meta).artifact
        assert here.key != there.key
        assert here.digest == there.digest != other.digest

    def test_drops_empty_folders(self, store: Store) -> None:
        def make(folder: Path) -> Mapping[str, Json]:
            (folder / "a" / "b").mkdir(parents=True)
            return fill(folder)

        store.run(STEP, "onnx", make)
        assert store.run(STEP, "onnx", never).cached

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), InputError("no"), FileNotFoundError("x")])
    def test_an_error_leaves_nothing_and_passes_through(self, store: Store, error: BaseException) -> None:
        def make(folder: Path) -> Mapping[str, Json]:
            fill(folder)
            raise error

        with pytest.raises(type(error)):
            store.run(STEP, "onnx", make)
        assert leftovers(store) == []
        assert store.get(STEP.key) is None
        assert not store.run(STEP, "onnx", fill).cached

    def test_refuses_its_own_name_and_links(self, store: Store) -> None:
        def own(folder: Path) -> Mapping[str, Json]:
            (folder / DESCRIPTION).write_text("{}")
            return {}

        def link(folder: Path) -> Mapping[str, Json]:
            (folder / "model.onnx").symlink_to("/etc/hostname")
            return {}

        with pytest.raises(ValueError, match="store's own"):
            store.run(STEP, "onnx", own)
        with pytest.raises(ResourceError, match="symbolic link"):
            store.run(STEP, "onnx", link)
        assert leftovers(store) == []

    def test_meta_has_to_be_json(self, store: Store) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.run(STEP, "onnx", lambda folder: {"sqnr_db": float("inf")})
        assert store.get(STEP.key) is None

    def test_work_outlives_a_failure_and_ends_with_success(self, store: Store) -> None:
        def make(folder: Path) -> Mapping[str, Json]:
            checkpoint = store.work(STEP.key) / "step-100"
            if not checkpoint.exists():
                checkpoint.write_text("weights")
                raise KeyboardInterrupt
            return {"resumed": checkpoint.read_text()}

        with pytest.raises(KeyboardInterrupt):
            store.run(STEP, "network", make)
        assert store.run(STEP, "network", make).artifact.meta == {"resumed": "weights"}
        assert list((store.root / "work").iterdir()) == []
        store.work(STEP.key)
        assert store.run(STEP, "network", never).cached
        assert list((store.root / "work").iterdir()) == []

    def test_sweeps_what_the_dead_left_of_the_same_key(self, store: Store) -> None:
        dead = store.root / "tmp" / f"{STEP.key}-1-00"
        other = store.root / "tmp" / f"{'0' * 64}-1-00"
        for folder in (dead, other):
            folder.mkdir(parents=True)
            (folder / "half").write_bytes(b"x")
        store.run(STEP, "onnx", fill)
        assert leftovers(store) == [other]

    def test_times_do_not_matter(self, store: Store) -> None:
        folder = store.run(STEP, "onnx", fill).artifact.folder
        for moment in (0, 2**33):
            for path in (folder, *folder.rglob("*")):
                os.utime(path, (moment, moment))
            assert store.run(STEP, "onnx", never).cached


@pytest.fixture
def frozen() -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only for this process, also where the tests run as root."""
    locked: list[Path] = []

    def freeze(root: Path) -> None:
        for path in (root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        locked.append(root)
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield freeze
    if os.getuid() == 0:
        os.seteuid(0)
    for root in locked:
        root.chmod(0o755)
        for path in root.rglob("*"):
            path.chmod(0o755)


class TestResources:
    @pytest.fixture
    def open_store(self, warnings: list[str]) -> Iterator[Store]:
        # pytest's own temporary folders are closed to other users.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Store(Path(folder) / "cache", on_warning=warnings.append)

    def test_read_only_hit(self, open_store: Store, frozen: Callable[[Path], None]) -> None:
        before = open_store.run(STEP, "onnx", fill).artifact
        shutil.rmtree(open_store.root / "locks")
        frozen(open_store.root)
        assert open_store.get(STEP.key) == before
        assert open_store.run(STEP, "onnx", never).cached

    @pytest.mark.parametrize("locks", [True, False])
    def test_read_only_miss(self, open_store: Store, frozen: Callable[[Path], None], locks: bool) -> None:
        open_store.run(Step("other", 1, {}, {}, {}), "onnx", fill)
        if not locks:
            shutil.rmtree(open_store.root / "locks")
        frozen(open_store.root)
        with pytest.raises(ResourceError, match=r"cache.*: permission denied;.*set VISIONDEPLOY_CACHE"):
            open_store.run(STEP, "onnx", never)

    def test_read_only_damaged(self, open_store: Store, frozen: Callable[[Path], None], warnings: list[str]) -> None:
        before = open_store.run(STEP, "onnx", fill).artifact
        flip(before.folder)
        frozen(open_store.root)
        assert open_store.get(STEP.key) is None
        assert "digest" in warnings[0]
        assert before.folder.exists()
        with pytest.raises(ResourceError, match="permission denied"):
            open_store.run(STEP, "onnx", never)

    def test_unreadable_is_not_damaged(self, open_store: Store, frozen: Callable[[Path], None]) -> None:
        folder = open_store.run(STEP, "onnx", fill).artifact.folder
        frozen(folder / "data")
        if os.getuid() == 0:
            os.seteuid(0)
        (folder / "model.onnx").chmod(0)
        if os.getuid() == 0:
            os.seteuid(65534)
        with pytest.raises(ResourceError, match=r"model.onnx: permission denied"):
            open_store.get(STEP.key)

    def test_root_is_a_file(self, store: Store) -> None:
        store.root.write_text("x")
        for call in (
            lambda: store.get(STEP.key),
            lambda: store.run(STEP, "onnx", never),
            lambda: store.work(STEP.key),
        ):
            with pytest.raises(ResourceError, match=r"cache is not a folder.*set VISIONDEPLOY_CACHE"):
                call()
        assert store.root.read_text() == "x"

    def test_root_is_a_dangling_link(self, store: Store) -> None:
        store.root.symlink_to("nowhere")
        with pytest.raises(ResourceError, match="set VISIONDEPLOY_CACHE"):
            store.run(STEP, "onnx", never)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
    def test_disk_full(self, store: Store, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
        def full(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(ResourceError, match=r"the disk is full or the quota.*set VISIONDEPLOY_CACHE"):
                store.run(STEP, "onnx", fill)
        assert leftovers(store) == []
        assert store.get(STEP.key) is None
        assert not store.run(STEP, "onnx", fill).cached

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_disk_full_inside_make(self, store: Store) -> None:
        def make(folder: Path) -> Mapping[str, Json]:
            Path("/dev/full").write_bytes(b"x" * 10000)
            return {}

        def native(folder: Path) -> Mapping[str, Json]:
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

        for stage in (make, native):
            with pytest.raises(ResourceError, match="the disk is full"):
                store.run(STEP, "onnx", stage)

    def test_disk_really_full(self, tmp_path: Path) -> None:
        """On a file system of 64 KB, in a mount namespace of its own that vanishes with the process."""
        script = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1/cache"'
        code = """
import os, sys
from pathlib import Path
from visiondeploy.errors import ResourceError
from visiondeploy.pipeline.store import Step, Store
store = Store(Path(sys.argv[1]))
step = Step("export", 1, {}, {}, {})
def make(size):
    def made(folder):
        (folder / "model.onnx").write_bytes(os.urandom(size))
        return {}
    return made
try:
    store.run(step, "onnx", make(200_000))
except ResourceError as error:
    print(error)
print(store.get(step.key), list((store.root / "tmp").iterdir()), store.run(step, "onnx", make(2000)).cached)
"""
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("needs root to mount a small file system")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "mount:" in done.stderr or "unshare:" in done.stderr:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        sentence, rest = done.stdout.splitlines()
        assert "cache: the disk is full" in sentence
        assert rest == "None [] False"

    def test_the_sentence_names_one_path_and_the_next_step(self, store: Store) -> None:
        store.root.write_text("x")
        with pytest.raises(ResourceError) as caught:
            store.get(STEP.key)
        assert str(caught.value) == (
            f"{store.root} is not a folder, but one is needed; "
            "move it away, or set VISIONDEPLOY_CACHE to another folder."
        )


class TestDefaultRoot:
    @pytest.mark.parametrize(
        ("cache", "xdg", "expected"),
        [
            ("/a/b", "/x", "/a/b"),
            ("~/deep", None, "/home/me/deep"),
            ("", "/x", "/x/visiondeploy"),
            (None, "/x", "/x/visiondeploy"),
            (None, "relative", "/home/me/.cache/visiondeploy"),
            (None, None, "/home/me/.cache/visiondeploy"),
        ],
    )
    def test_order(self, monkeypatch: pytest.MonkeyPatch, cache: str | None, xdg: str | None, expected: str) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        for name, value in (("VISIONDEPLOY_CACHE", cache), ("XDG_CACHE_HOME", xdg)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert default_root() == Path(expected)


def test_imports_no_heavy_runtime() -> None:
    code = (
        "import sys, visiondeploy.pipeline.store\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'rich', 'tensorrt'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
