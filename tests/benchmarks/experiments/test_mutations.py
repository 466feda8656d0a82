"""A mutation always changes something, the same for the same seed; and what is accepted would be seen."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from kit.bundles import FILES, keys, put, write_bundle
from kit.stores import STEP, fill

from visiondeploy.benchmarks.experiments.mutations import Became, Result, document
from visiondeploy.benchmarks.experiments.mutations_changes import OF_ARCHIVES, OF_ENTRIES, OF_FOLDERS, Ground
from visiondeploy.pipeline.artifact import Step
from visiondeploy.pipeline.bundle.archive import pack
from visiondeploy.pipeline.bundle.manifest import SIGNATURE, Role
from visiondeploy.pipeline.store import Store

SEEDS = range(12)
FULL = {**FILES, "report/report.json": (Role.REPORT, b'{"verdict": {}}' * 20)}
MANIFESTS = ("manifest edited",)
"""Those that need a contract with classes."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    put(write_bundle(folder / "other", FULL) / SIGNATURE, b"another\n")
    store = Store(folder / "store")
    steps = [STEP, Step("export", 2, {"network": "cd"}, {}, {})]
    entries = [store.run(step, "onnx", fill).artifact.folder for step in steps]
    (entries[1] / "model.onnx").write_bytes(b"another" * 40)
    return Ground(folder / "other", keys(folder).private, tuple(entries))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("bundle") / "toy", FULL)
    put(folder / SIGNATURE, b'{"signature": "AZ09+/="}\n')
    return folder


def seen(path: Path) -> dict[str, object]:
    """Kind, mode and bytes of all that is there."""
    below = {
        one.relative_to(path).as_posix(): (one.lstat().st_mode, one.read_bytes() if one.is_file() else b"")
        for one in path.rglob("*")
    }
    return below if path.is_dir() else {"": path.read_bytes()}


@pytest.mark.parametrize("kind", sorted(OF_FOLDERS.keys() - set(MANIFESTS)))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_folder_is_changed(kind, seed, bundle, ground, tmp_path) -> None:
    copies = [Path(shutil.copytree(bundle, tmp_path / name / "toy")) for name in "ab"]
    for copy in copies:
        OF_FOLDERS[kind](copy, random.Random(seed), ground)
    assert seen(copies[0]) != seen(bundle)
    if kind != "signed by a stranger":  # ECDSA draws a number of its own
        assert seen(copies[0]) == seen(copies[1])


@pytest.mark.parametrize("kind", OF_ARCHIVES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_archive_is_changed(kind, seed, bundle, ground, tmp_path) -> None:
    pack(bundle, tmp_path / "toy.tar.zst")
    before = seen(tmp_path / "toy.tar.zst")
    OF_ARCHIVES[kind](tmp_path / "toy.tar.zst", random.Random(seed), ground)
    assert seen(tmp_path / "toy.tar.zst") != before


@pytest.mark.parametrize("kind", OF_ENTRIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_entry_is_changed(kind, seed, ground, tmp_path) -> None:
    entry = ground.entries[0]
    copy = Path(shutil.copytree(entry, tmp_path / entry.name))
    OF_ENTRIES[kind](copy, random.Random(seed), ground)
    assert seen(copy) != seen(entry)


def test_the_document_counts_what_was_accepted_and_names_what_crashed() -> None:
    found = [
        Result(0, "bit flipped", Became("refused", "digests")),
        Result(1, "bit flipped", Became("accepted", wrong=True, keyless=True)),
        Result(2, "store: truncated", Became("crashed", "not a typed error: KeyError: 'x'")),
    ]
    text = document(found, "Of a toy.", "python mutations.py")
    assert (
        "3 mutations: 1 refused, 0 with the same files, **1 accepted,\n1 wrong numbers served**, 1 crashes. Of a toy."
        in text
    )
    assert "| bit flipped | 2 | digests 1 | 0 | 1 | 1 | 1 |" in text
    assert "- store: truncated, number 2: not a typed error: KeyError" in text
