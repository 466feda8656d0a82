"""`deploy push` and `deploy pull`: a bundle into an OCI registry and back, byte for byte."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.errors import InputError, UsageError
from visiondeploy.pipeline.bundle.checked import checked
from visiondeploy.pipeline.bundle.manifest import LARGEST_MANIFEST, MANIFEST, Manifest
from visiondeploy.pipeline.bundle.place import appearing, check_target, seal
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.registry.artifact import Artifact, Reference, artifact_of, check_layers, digest_of
from visiondeploy.pipeline.registry.client import Client


@dataclass(frozen=True, slots=True)
class Transferred:
    """A bundle that is in a registry: its name and version, HOST/NAME@DIGEST for it alone, files and bytes."""

    name: str
    version: int
    reference: str
    files: int
    size: int


def push(bundle: Path, reference: str, events: Events, *, plain_http: bool = False) -> Transferred:
    """Put a bundle (a folder or an archive) into a registry, under the tag of the reference.

    All its digests are checked before. Raises `InputError` and `IntegrityError` for what is no sound bundle,
    `UsageError` for a reference that no bundle can be pushed to, `EnvironmentMismatch` where the registry cannot be
    reached or refuses.
    """
    place = Reference.parse(reference)
    if place.digest is not None or place.tag is None:
        raise UsageError(f"{reference} names a digest, which a push has as its result: give HOST/NAME:TAG.")
    client = Client(place, plain_http)
    with checked(bundle) as (folder, manifest):
        artifact = artifact_of(folder, manifest)
        for number, layer in enumerate(artifact.layers):
            events.progress(number, len(artifact.layers), layer.title)
            client.put_blob(folder / layer.title, layer)
        client.put_blob(folder / MANIFEST, artifact.config)
        digest = client.put_manifest(artifact.to_json())
        return _transferred(place, manifest, artifact, digest)


def pull(
    reference: str, target: Path, events: Events, *, key: Path | None = None, plain_http: bool = False
) -> Transferred:
    """Get a bundle out of a registry as `target`, a folder or a `.tar.zst`, which appears whole or not at all.

    Every blob is checked against its digest as it comes, and the bundle as `deploy verify` does, with its signature if
    there is a `key`. What a tag leads to is the registry's word; a digest in the reference, or a key, is more.

    Raises `IntegrityError` where anything does not match, `InputError` for what is no bundle, `UsageError` for a target
    that holds something else, `EnvironmentMismatch` where the registry cannot be reached or refuses, `ResourceError`
    where the bundle cannot be written.
    """
    place = Reference.parse(reference)
    check_target(target)
    client = Client(place, plain_http)
    data = client.manifest()
    artifact = Artifact.from_json(data, str(place))
    manifest = _manifest(client, artifact, str(place))
    check_layers(artifact, manifest, str(place))
    with appearing(target) as folder:
        for number, layer in enumerate(artifact.layers):
            events.progress(number, len(artifact.layers), layer.title)
            path = folder / layer.title
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                client.blob(layer, file)
                _keep(file)
        with (folder / MANIFEST).open("xb") as file:
            file.write(manifest.to_json().encode())
            _keep(file)
        seal(folder)
        with checked(folder, key):
            pass
    return _transferred(place, manifest, artifact, digest_of(data))


def _manifest(client: Client, artifact: Artifact, source: str) -> Manifest:
    if artifact.config.size > LARGEST_MANIFEST:
        raise InputError(f"{source} has a {MANIFEST} of {artifact.config.size:,} bytes: it is no bundle.")
    held = io.BytesIO()
    client.blob(artifact.config, held)
    return Manifest.from_json(held.getvalue(), f"{source}: {MANIFEST}")


def _keep(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _transferred(place: Reference, manifest: Manifest, artifact: Artifact, digest: str) -> Transferred:
    size = artifact.config.size + sum(layer.size for layer in artifact.layers)
    files = len(artifact.layers) + 1
    return Transferred(manifest.name, manifest.version, f"{place.place}@{digest}", files, size)
