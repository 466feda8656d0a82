"""Bundles as OCI artifacts: references, the manifest, and what is no artifact of ours."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.served import write_bundle

from visiondeploy.errors import InputError, UsageError, VisionDeployError
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, Manifest
from visiondeploy.pipeline.registry.artifact import Artifact, Reference, artifact_of, check_layers, digest_of

DIGEST = f"sha256:{'0' * 64}"


class TestReference:
    @pytest.mark.parametrize(
        ("text", "place", "tag", "digest"),
        [
            ("registry.example.com/vision/unet:1", "registry.example.com/vision/unet", "1", None),
            ("registry:5000/unet:v1.2", "registry:5000/unet", "v1.2", None),
            (f"localhost/unet@{DIGEST}", "localhost/unet", None, DIGEST),
            (f"127.0.0.1:5000/a/b_c/d-e:1@{DIGEST}", "127.0.0.1:5000/a/b_c/d-e", "1", DIGEST),
            ("[::1]:5000/unet:1", "[::1]:5000/unet", "1", None),
        ],
    )
    def test_it_is_read_and_written_alike(self, text, place, tag, digest) -> None:
        found = Reference.parse(text)
        assert (found.place, found.tag, found.digest) == (place, tag, digest)
        assert str(found) == text

    @pytest.mark.parametrize(
        "text",
        [
            *("", "unet", "unet:1", "vision/unet:1", "a b.c/d:1", "https://host.example/unet:1"),
            *(f"host.example/{name}" for name in ("unet", "Unet:1", "../unet:1", "/unet:1", "unet:1@sha256:00")),
        ],
    )
    def test_what_is_none_is_refused(self, text) -> None:
        with pytest.raises(UsageError, match="HOST"):
            Reference.parse(text)

    @pytest.mark.parametrize(("host", "here"), [("127.0.0.1:1", True), ("localhost", True), ("[::1]", True)])
    def test_this_machine_is_known(self, host, here) -> None:
        assert Reference.parse(f"{host}/unet:1").loopback is here

    @pytest.mark.parametrize("host", ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "1.127.0.0.1"])
    def test_so_is_another(self, host) -> None:
        assert not Reference.parse(f"{host}/unet:1").loopback


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture(scope="module")
def manifest(small) -> Manifest:
    return Manifest.from_json((small / MANIFEST).read_bytes())


class TestArtifact:
    def test_it_is_read_as_it_was_written(self, small, manifest) -> None:
        made = artifact_of(small, manifest)
        assert Artifact.from_json(made.to_json(), "it") == made
        check_layers(made, manifest, "it")

    def test_the_config_is_the_manifest_itself(self, small, manifest) -> None:
        assert artifact_of(small, manifest).config.digest == digest_of((small / MANIFEST).read_bytes())

    def test_a_signature_is_a_layer(self, small, manifest, tmp_path) -> None:
        (tmp_path / SIGNATURE).write_bytes(b"{}")
        made = artifact_of(tmp_path, manifest)
        assert [layer.title for layer in made.layers if layer.title == SIGNATURE] == [SIGNATURE]
        check_layers(made, manifest, "it")

    @given(st.binary(max_size=200))
    def test_no_bytes_crash_it(self, data) -> None:
        with pytest.raises(InputError):
            Artifact.from_json(data, "it")

    # How fast the machine is says nothing of the reader.
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_nor_does_any_json_in_its_place(self, small, manifest, data) -> None:
        anything = st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        )
        content = json.loads(artifact_of(small, manifest).to_json())
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(anything)
        with suppress(VisionDeployError):
            check_layers(Artifact.from_json(json.dumps(content).encode(), "it"), manifest, "it")
