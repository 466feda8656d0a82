"""Bundles in a real OCI registry on loopback, honest and not."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.files import contents, flip
from kit.served import write_bundle

from visiondeploy.errors import EnvironmentMismatch, InputError, IntegrityError, UsageError
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.registry.artifact import MEDIA_TYPE, Reference
from visiondeploy.pipeline.registry.transfer import pull, push
from visiondeploy.pipeline.serving.process import LOOPBACK, free_ports, running

REGISTRY = shutil.which("docker-registry", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

pytestmark = [
    pytest.mark.serving,
    pytest.mark.skipif(REGISTRY is None, reason="docker-registry is not installed: `make serving` gets it"),
]
pytest.importorskip("oras", reason="oras is not installed: `make serving` sets up an environment with it")

CONFIG = """version: 0.1
log: {{ level: error }}
storage: {{ filesystem: {{ rootdirectory: {root} }} }}
http: {{ addr: "127.0.0.1:{port}" }}
"""


@dataclass(frozen=True)
class Registry:
    host: str
    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "docker" / "registry" / "v2" / "blobs" / "sha256"

    def kept(self, digest: str) -> Path:
        """The file in which the registry keeps a blob or a manifest."""
        value = digest.removeprefix("sha256:")
        return self.blobs / value[:2] / value / "data"

    def raw(self, reference: str) -> bytes:
        place, _, name = reference.partition("/")
        repository, _, digest = name.partition("@")
        request = urllib.request.Request(f"http://{place}/v2/{repository}/manifests/{digest}")
        request.add_header("Accept", MEDIA_TYPE)
        with urllib.request.urlopen(request) as answer:
            found: bytes = answer.read()
        return found

    def put(self, name: str, manifest: bytes) -> None:
        """What anybody may do who can write to the registry."""
        request = urllib.request.Request(f"http://{self.host}/v2/{name}", data=manifest, method="PUT")
        request.add_header("Content-Type", MEDIA_TYPE)
        urllib.request.urlopen(request).close()


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Iterator[Registry]:
    """A registry of the test's own, and a home without logins."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (port,) = free_ports(1)
    root = tmp_path / "registry"
    config = tmp_path / "registry.yml"
    config.write_text(CONFIG.format(root=root, port=port), encoding="utf-8")
    command = [str(REGISTRY), "serve", str(config)]
    with running(command, f"http://{LOOPBACK}:{port}/v2/", tmp_path / "registry.log"):
        yield Registry(f"{LOOPBACK}:{port}", root)


@pytest.fixture
def small(tmp_path) -> Path:
    return write_bundle(tmp_path / "bundle")


def to(registry: Registry) -> str:
    return f"{registry.host}/vision/small:1"


class TestThereAndBack:
    def test_a_bundle_comes_back_byte_for_byte(self, registry, small, tmp_path) -> None:
        pushed = push(small, to(registry), Silent())
        pulled = pull(to(registry), tmp_path / "back", Silent())
        assert pulled == pushed
        assert contents(tmp_path / "back") == contents(small)
        assert (pushed.name, pushed.version, pushed.files) == ("small", 1, len(contents(small)))

    def test_layers_have_the_digests_and_paths_of_the_manifest(self, registry, small) -> None:
        found = json.loads(registry.raw(push(small, to(registry), Silent()).reference))
        manifest = Manifest.from_json((small / MANIFEST).read_bytes())
        layers = {one["annotations"]["org.opencontainers.image.title"]: one["digest"] for one in found["layers"]}
        assert layers == {entry.path: f"sha256:{entry.sha256}" for entry in manifest.files}

    def test_the_same_bundle_is_the_same_artifact(self, registry, small) -> None:
        first = push(small, to(registry), Silent())
        assert push(small, f"{registry.host}/vision/small:again", Silent()) == first

    def test_a_digest_names_it_when_the_tag_has_moved(self, registry, small, tmp_path) -> None:
        first = push(small, to(registry), Silent())
        push(write_bundle(tmp_path / "two", version=2), to(registry), Silent())
        pull(first.reference, tmp_path / "back", Silent())
        assert contents(tmp_path / "back") == contents(small)

    def test_a_damaged_bundle_is_not_pushed(self, registry, small) -> None:
        flip(next(small.rglob("model.onnx")))
        with pytest.raises(IntegrityError, match=r"model\.onnx"):
            push(small, to(registry), Silent())
        assert not registry.blobs.exists()


class TestATamperedRegistry:
    @pytest.fixture
    def pushed(self, registry, small) -> str:
        return push(small, to(registry), Silent()).reference

    @pytest.fixture
    def nothing_stays(self, tmp_path) -> Iterator[Path]:
        """The target; nothing is in its folder, which is watched from above, after a pull that failed."""
        (tmp_path / "watched" / "in").mkdir(parents=True)
        yield tmp_path / "watched" / "in" / "back"
        assert [path.name for path in (tmp_path / "watched").rglob("*")] == ["in"]

    @pytest.mark.parametrize("name", ["model.onnx", "config.pbtxt", "outputs.safetensors"])
    @pytest.mark.parametrize("change", ["flipped", "cut off", "longer"])
    def test_a_changed_layer_is_refused(self, registry, small, pushed, nothing_stays, name, change) -> None:
        layers = json.loads(registry.raw(pushed))["layers"]
        (layer,) = [one for one in layers if one["annotations"]["org.opencontainers.image.title"].endswith(name)]
        kept = registry.kept(layer["digest"])
        data = kept.read_bytes()
        flip(kept) if change == "flipped" else kept.write_bytes(data[:-9] if change == "cut off" else data + b"more")
        with pytest.raises((IntegrityError, EnvironmentMismatch), match=r"promised|cannot be reached"):
            pull(pushed, nothing_stays, Silent())

    @pytest.mark.parametrize("by", ["tag", "digest"])
    def test_a_changed_oci_manifest_is_refused(self, registry, pushed, nothing_stays, by) -> None:
        kept = registry.kept(pushed.split("@")[1])
        kept.write_bytes(kept.read_bytes().replace(b'"small"', b'"smell"'))
        with pytest.raises(IntegrityError, match="promised is"):
            pull(pushed if by == "digest" else to(registry), nothing_stays, Silent())

    def test_so_is_a_changed_manifest_of_the_bundle(self, registry, pushed, nothing_stays) -> None:
        kept = registry.kept(json.loads(registry.raw(pushed))["config"]["digest"])
        kept.write_bytes(kept.read_bytes().replace(b'"PASS"', b'"FAIL"'))
        with pytest.raises(IntegrityError, match="manifest of the bundle"):
            pull(pushed, nothing_stays, Silent())

    @pytest.mark.parametrize("title", ["../out", "/tmp/out", "triton/../../out", "golden/extra", MANIFEST, "", None])
    def test_a_layer_that_is_no_file_of_the_bundle_is_refused(self, registry, pushed, nothing_stays, title) -> None:
        found = json.loads(registry.raw(pushed))
        added = found["layers"][0] | {"annotations": {"org.opencontainers.image.title": title}}
        if title is None:
            del added["annotations"]
        found["layers"].append(added)
        registry.put("vision/small/manifests/1", json.dumps(found).encode())
        with pytest.raises(IntegrityError, match="layers that are not the files"):
            pull(to(registry), nothing_stays, Silent())

    @pytest.mark.parametrize("change", ["missing", "swapped", "twice"])
    def test_so_are_layers_that_were_moved_about(self, registry, pushed, nothing_stays, change) -> None:
        found = json.loads(registry.raw(pushed))
        layers = found["layers"]
        if change == "missing":
            layers.pop()
        elif change == "twice":
            layers.append(layers[0])
        else:
            layers[0]["annotations"], layers[1]["annotations"] = layers[1]["annotations"], layers[0]["annotations"]
        registry.put("vision/small/manifests/1", json.dumps(found).encode())
        with pytest.raises(IntegrityError, match=r"layers that are not the files|twice"):
            pull(to(registry), nothing_stays, Silent())

    def test_what_is_no_bundle_is_not_taken_for_one(self, registry, pushed, nothing_stays) -> None:
        found = json.loads(registry.raw(pushed))
        found["artifactType"] = "application/vnd.example.cake"
        registry.put("vision/small/manifests/1", json.dumps(found).encode())
        with pytest.raises(InputError, match="expected a bundle"):
            pull(to(registry), nothing_stays, Silent())


class TestMistakes:
    def test_a_target_that_is_there_is_left_alone(self, registry, small, tmp_path) -> None:
        push(write_bundle(tmp_path / "two", version=2), to(registry), Silent())
        before = contents(small)
        with pytest.raises(UsageError, match="holds another bundle"):
            pull(to(registry), small, Silent())
        assert contents(small) == before

    def test_a_name_that_is_not_there(self, registry, tmp_path) -> None:
        with pytest.raises(InputError, match="there is no"):
            pull(f"{registry.host}/vision/none:1", tmp_path / "back", Silent())

    def test_a_registry_that_is_not_there_is_said_at_once(self, small, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (port,) = free_ports(1)
        with pytest.raises(EnvironmentMismatch, match="cannot be reached"):
            push(small, f"{LOOPBACK}:{port}/small:1", Silent())

    def test_a_push_goes_to_a_tag(self, small) -> None:
        with pytest.raises(UsageError, match="names a digest"):
            push(small, f"localhost/small@sha256:{'0' * 64}", Silent())
        with pytest.raises(UsageError, match="HOST"):
            Reference.parse("small")
