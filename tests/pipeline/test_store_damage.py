import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from kit.stores import STEP, WEIGHTS, fill, flip, leftovers

from visiondeploy.errors import IntegrityError, ResourceError
from visiondeploy.pipeline.artifact import DESCRIPTION, digest_of
from visiondeploy.pipeline.store import Json, Step, Store


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> Store:
    return Store(tmp_path / "cache", on_warning=warnings.append)


def edit_json(folder: Path, change: Callable[[dict[str, object]], object], *, mend: bool = False) -> None:
    path = folder / DESCRIPTION
    found = json.loads(path.read_text())
    change(found)
    if mend:
        found.pop("self")
        found["self"] = digest_of(found)
    path.write_text(json.dumps(found))


def longer_with_size_fixed(folder: Path, *, mend: bool) -> None:
    (folder / "model.onnx").write_bytes(WEIGHTS + b"!")

    def fix(found: dict[str, object]) -> None:
        found["files"]["model.onnx"]["size"] = len(WEIGHTS) + 1  # type: ignore[index]

    edit_json(folder, fix, mend=mend)


def swap_for_link(folder: Path) -> None:
    outside = folder.parents[2] / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)


def entry_is_link(folder: Path) -> None:
    outside = folder.parents[2] / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)


def entry_emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def entry_is_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def swap_for_fifo(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (flip, "model.onnx does not have the digest"),
    "truncated": (lambda f: os.truncate(f / "model.onnx", 5000), "5000 bytes, 102400 were recorded"),
    "emptied": (lambda f: os.truncate(f / "model.onnx", 0), "0 bytes"),
    "file missing": (lambda f: (f / "model.onnx").unlink(), "model.onnx is missing"),
    "file below missing": (lambda f: (f / "data" / "labels.txt").unlink(), "labels.txt is missing"),
    "extra file": (lambda f: (f / "more.bin").write_bytes(b""), "more.bin does not belong"),
    "extra file below": (lambda f: (f / "data" / ".x").write_bytes(b""), "data/.x does not belong"),
    "extra folder": (lambda f: (f / "more").mkdir(), "more does not belong"),
    "symbolic link": (swap_for_link, "symbolic link"),
    "extra link": (lambda f: (f / "more").symlink_to("data"), "symbolic link"),
    "FIFO": (swap_for_fifo, "neither a file nor a folder"),
    "description missing": (lambda f: (f / DESCRIPTION).unlink(), "artifact.json is missing"),
    "description empty": (lambda f: os.truncate(f / DESCRIPTION, 0), "not JSON"),
    "description cut": (lambda f: os.truncate(f / DESCRIPTION, 300), "not JSON"),
    "description is a list": (lambda f: (f / DESCRIPTION).write_text("[]"), "not a JSON object"),
    "description nested": (lambda f: (f / DESCRIPTION).write_text("[" * 10**5), "not JSON"),
    "description not UTF-8": (lambda f: (f / DESCRIPTION).write_bytes(b'{"\xff": 1}'), "not JSON"),
    "schema of the future": (lambda f: edit_json(f, lambda d: d.update(schema="x/9"), mend=True), "schema"),
    "meta edited": (lambda f: edit_json(f, lambda d: d.update(meta={"nodes": 1})), "digest"),
    "meta edited, mended": (lambda f: edit_json(f, lambda d: d.update(meta={"nodes": 1}), mend=True), "digest"),
    "version edited, mended": (lambda f: edit_json(f, lambda d: d.update(version=9), mend=True), "digest"),
    "field of no version": (lambda f: edit_json(f, lambda d: d.update(more=9), mend=True), "does not have the fields"),
    "size fixed up": (lambda f: longer_with_size_fixed(f, mend=False), "digest"),
    "size fixed up, mended": (lambda f: longer_with_size_fixed(f, mend=True), "model.onnx does not have the digest"),
    "entry is a link": (entry_is_link, "not a folder"),
    "entry is a file": (entry_is_file, "not a folder"),
    "entry emptied": (entry_emptied, "artifact.json is missing"),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGE)
    def test_is_reported_removed_and_made_anew(self, store: Store, warnings: list[str], name: str) -> None:
        damage, words = DAMAGE[name]
        before = store.run(STEP, "onnx", fill).artifact
        damage(before.folder)
        assert store.get(STEP.key) is None
        assert len(warnings) == 1
        assert words in warnings[0]
        assert str(before.folder) in warnings[0]
        assert not os.path.lexists(before.folder)
        assert store.run(STEP, "onnx", fill).artifact == before
        assert len(warnings) == 1
        assert leftovers(store) == []

    @pytest.mark.parametrize("name", DAMAGE)
    def test_run_does_not_serve_it(self, store: Store, warnings: list[str], name: str) -> None:
        before = store.run(STEP, "onnx", fill).artifact
        DAMAGE[name][0](before.folder)
        ran = store.run(STEP, "onnx", fill)
        assert (ran.cached, ran.artifact, len(warnings)) == (False, before, 1)
        assert ran.artifact.path("model.onnx").read_bytes() == WEIGHTS

    def test_an_entry_of_another_key_is_not_served(self, store: Store, warnings: list[str]) -> None:
        here = store.run(STEP, "onnx", fill).artifact
        other = store.run(Step("export", 2, {}, {}, {}), "onnx", lambda folder: {}).artifact
        shutil.rmtree(here.folder)
        shutil.copytree(other.folder, here.folder)
        assert store.get(STEP.key) is None
        assert "belongs to another key" in warnings[0]

    def test_a_deleted_entry_is_a_plain_miss(self, store: Store, warnings: list[str]) -> None:
        shutil.rmtree(store.run(STEP, "onnx", fill).artifact.folder)
        assert store.get(STEP.key) is None
        assert not store.run(STEP, "onnx", fill).cached
        assert warnings == []

    def test_deleted_while_in_use(self, store: Store, tmp_path: Path) -> None:
        artifact = store.run(STEP, "onnx", fill).artifact
        shutil.rmtree(store.root)
        with pytest.raises(IntegrityError, match="removed from the store while in use; run the command again"):
            artifact.path("model.onnx")
        with pytest.raises(IntegrityError, match=r"model\.onnx cannot be read"):
            artifact.copy("model.onnx", tmp_path / "copy.onnx")
        with pytest.raises(KeyError):
            artifact.path("other.onnx")
        assert not (tmp_path / "copy.onnx").exists()

    def test_store_deleted_while_making(self, store: Store) -> None:
        def early(folder: Path) -> Mapping[str, Json]:
            shutil.rmtree(store.root)
            return fill(folder)

        def late(folder: Path) -> Mapping[str, Json]:
            fill(folder)
            shutil.rmtree(store.root)
            return {}

        for make in (early, late):
            with pytest.raises(ResourceError, match="removed while in use"):
                store.run(STEP, "onnx", make)
        assert not store.run(STEP, "onnx", fill).cached

    def test_locks_deleted_while_making(self, store: Store) -> None:
        """Then two can make at once; the first to end wins, and both get its artifact."""

        def make(folder: Path) -> Mapping[str, Json]:
            shutil.rmtree(store.root / "locks")
            rival = threading.Thread(target=lambda: Store(store.root).run(STEP, "onnx", fill))
            rival.start()
            rival.join()
            folder.mkdir(exist_ok=True)
            return fill(folder)

        assert store.run(STEP, "onnx", make).artifact == store.get(STEP.key)
        assert leftovers(store) == []
