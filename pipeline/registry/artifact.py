"""A bundle as an OCI artifact (OCI Image Manifest 1.1): its `manifest.json` is the config, every other file a layer.

A layer has the digest that `manifest.json` lists for the file, and the file's path as its title. So two bundles share
the files that they have in common, and whoever knows the artifact's digest knows every byte of the bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiondeploy.errors import InputError, IntegrityError, UsageError
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, Manifest, Role
from visiondeploy.pipeline.files import sha256_file

MEDIA_TYPE: Literal["application/vnd.oci.image.manifest.v1+json"] = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE: Literal["application/vnd.visiondeploy.bundle.v1"] = "application/vnd.visiondeploy.bundle.v1"
CONFIG_TYPE: Literal["application/vnd.visiondeploy.bundle.manifest.v1+json"] = (
    "application/vnd.visiondeploy.bundle.manifest.v1+json"
)
SIGNATURE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"

LARGEST = 4 << 20
"""Bytes of an OCI manifest that is read; registries take no larger ones."""

LARGEST_SIGNATURE = 4 << 20

_OURS = "application/vnd.visiondeploy.bundle"
MEDIA_TYPES: dict[Role, str] = {
    Role.ENGINE: f"{_OURS}.engine.v1",
    Role.SOURCE: f"{_OURS}.source.v1",
    Role.TRITON: f"{_OURS}.triton.v1",
    Role.MLSERVER: f"{_OURS}.mlserver.v1",
    Role.GOLDEN: f"{_OURS}.golden.v1",
    Role.REPORT: f"{_OURS}.report.v1",
    Role.CARD: "text/markdown",
    Role.SBOM: "application/vnd.cyclonedx+json",
    Role.PROVENANCE: "application/vnd.in-toto+json",
}

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?P<host>localhost|[A-Za-z0-9.-]+\.[A-Za-z0-9.-]+|[A-Za-z0-9.-]+(?=:)|\[[0-9a-fA-F:]+\])(?P<port>:[0-9]{1,5})?"
    rf"/(?P<name>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an artifact is: HOST[:PORT]/NAME with a tag, a digest ("sha256:…") or both, of which the digest counts."""

    host: str
    name: str
    tag: str | None
    digest: str | None
    loopback: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST[:PORT]/NAME[:TAG][@DIGEST]. Raises `UsageError`."""
        found = _REFERENCE.fullmatch(text)
        if found is None or not (found["tag"] or found["digest"]):
            raise UsageError(
                f"{text!r} is no reference to an artifact: write HOST[:PORT]/NAME:TAG, the name in small letters, for "
                "example registry.example.com/vision/unet:1, or …@sha256:DIGEST."
            )
        host = found["host"] + (found["port"] or "")
        loopback = _LOOPBACK.fullmatch(found["host"]) is not None
        return cls(host, found["name"], found["tag"], found["digest"], loopback)

    @property
    def place(self) -> str:
        """The repository."""
        return f"{self.host}/{self.name}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.place}{tag}" + (f"@{self.digest}" if self.digest else "")


class Descriptor(BaseModel):
    """A blob: what it is, its digest and size, and for layers the path as `org.opencontainers.image.title`."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    media_type: Annotated[str, Field(alias="mediaType")]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    annotations: dict[str, str] | None = None

    @property
    def title(self) -> str:
        """The path in the bundle; empty where there is none."""
        return (self.annotations or {}).get(TITLE, "")


class Artifact(BaseModel):
    """An OCI manifest of a bundle."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_version: Annotated[Literal[2], Field(alias="schemaVersion")] = 2
    media_type: Annotated[Literal["application/vnd.oci.image.manifest.v1+json"], Field(alias="mediaType")] = MEDIA_TYPE
    artifact_type: Annotated[Literal["application/vnd.visiondeploy.bundle.v1"], Field(alias="artifactType")] = (
        ARTIFACT_TYPE
    )
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] | None = None

    def to_json(self) -> bytes:
        """The one spelling that is pushed."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, source: str) -> Self:
        """Read an OCI manifest. Raises `InputError` for one that is no bundle's."""
        try:
            content: Any = json.loads(data)
            found = content.get("artifactType") or content.get("mediaType") if isinstance(content, dict) else None
            if found != ARTIFACT_TYPE:
                raise InputError(f"{source} is {str(found)[:100]!r}, expected a bundle that `deploy push` put there.")
            return cls.model_validate(content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise InputError(f"{source} is no manifest of an artifact: {where}: {problem['msg']}.") from None
        except (ValueError, RecursionError):
            raise InputError(f"{source} is not JSON, expected the manifest of an artifact.") from None


def artifact_of(folder: Path, manifest: Manifest) -> Artifact:
    """The artifact of a bundle whose digests were checked."""
    layers = [_descriptor(MEDIA_TYPES[entry.role], entry.sha256, entry.size, entry.path) for entry in manifest.files]
    if (folder / SIGNATURE).is_file():
        signature = folder / SIGNATURE
        layers.append(_descriptor(SIGNATURE_TYPE, sha256_file(signature), signature.stat().st_size, SIGNATURE))
    data = manifest.to_json().encode()
    return Artifact(
        config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(data), size=len(data)),
        layers=tuple(layers),
        annotations={TITLE: manifest.name, VERSION: str(manifest.version)},
    )


def check_layers(artifact: Artifact, manifest: Manifest, source: str) -> None:
    """Raise `IntegrityError` unless the layers are the files of the manifest, and perhaps its signature."""
    listed = {entry.path: (f"sha256:{entry.sha256}", entry.size) for entry in manifest.files}
    there: dict[str, tuple[str, int]] = {}
    for layer in artifact.layers:
        if layer.title in there:
            raise IntegrityError(f"{source} has {layer.title!r} twice: do not use it; push the bundle again.")
        there[layer.title] = (layer.digest, layer.size)
    signature = there.pop(SIGNATURE, None)
    if signature is not None and signature[1] > LARGEST_SIGNATURE:
        raise IntegrityError(f"{source} has a {SIGNATURE} of {signature[1]:,} bytes: sign the bundle again.")
    odd = sorted(path for path in listed.keys() | there.keys() if listed.get(path) != there.get(path))
    if odd:
        raise IntegrityError(
            f"{source} has layers that are not the files of its {MANIFEST} ({odd[0][:200]!r}): do not use it; push the "
            "bundle again."
        )


def digest_of(data: bytes) -> str:
    """ "sha256:" and the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, sha256: str, size: int, path: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=f"sha256:{sha256}", size=size, annotations={TITLE: path})
