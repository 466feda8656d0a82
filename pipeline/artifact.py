"""What a store keeps: steps and their keys, artifacts, and the description that lies beside an artifact's files.

Digests are SHA-256 over canonical JSON: sorted keys, no spaces, ASCII, no NaN.

    key of a step        stage, its code version, digests of the inputs, settings, versions of the tools
    digest of content    names and digests of the files, and what the stage recorded (`meta`)

The next step's key is made of content digests, so two routes to the same bytes meet in the same later
artifacts. `meta` therefore holds no times, host names or paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from visiondeploy.errors import IntegrityError
from visiondeploy.pipeline.files import copy_verified

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

DESCRIPTION = "artifact.json"

# 1: schema, key, kind, stage, version, settings, tools, inputs, files, meta, digest, self
SCHEMA = "visiondeploy.artifact/1"


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value that digests are made of.

    Raises `TypeError` for what JSON does not have and `ValueError` for numbers that are not finite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def digest_of(value: object) -> str:
    """The SHA-256 of a JSON value, in hexadecimal. Raises as `canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def tool_versions(*packages: str) -> dict[str, str]:
    """The installed version of each package, "absent" where it is not installed. Imports none of them."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """All that decides what a stage makes; equal steps have equal keys.

    `version` is the stage's own and is raised with every change of what it makes. `inputs` maps a name to the
    digest of an artifact's content, of a file or of a data set's split.
    """

    stage: str
    version: int
    inputs: Mapping[str, str]
    settings: BaseModel | Json
    tools: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """The step as JSON. Raises `TypeError` or `ValueError` where the settings are not JSON."""
        settings = self.settings
        made: dict[str, Any] = json.loads(
            canonical(
                {
                    "stage": self.stage,
                    "version": self.version,
                    "inputs": dict(self.inputs),
                    "settings": settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings,
                    "tools": dict(self.tools),
                }
            )
        )
        return made

    @property
    def key(self) -> str:
        """The name of what the step makes: 64 hexadecimal digits. Raises as `plain`."""
        return digest_of(self.plain())


def key(
    stage: str, version: int, inputs: Mapping[str, str], settings: BaseModel | Json, tools: Mapping[str, str]
) -> str:
    """The key of a step. Raises `TypeError` or `ValueError` where the settings are not JSON."""
    return Step(stage, version, inputs, settings, tools).key


class FileRecord(BaseModel):
    """One file of an artifact as it was when the stage ended; `size` in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The stage that made an artifact, its settings as JSON, and the versions of its tools."""

    stage: str
    version: int
    settings: Any
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Artifact:
    """An immutable folder in the store. `digest` is that of its content, `key` that of the step that made it."""

    key: str
    kind: str
    folder: Path
    files: Mapping[str, FileRecord]
    meta: Mapping[str, Any]
    made_by: MadeBy
    inputs: Mapping[str, str]
    digest: str

    def path(self, name: str) -> Path:
        """Where a file of the artifact lies.

        Raises `KeyError` for a name it does not have, `IntegrityError` where the file has been removed since.
        """
        record = self.files[name]
        found = self.folder / name
        if not found.is_file():
            raise IntegrityError(
                f"{found} ({record.size} bytes) was removed from the store while in use; "
                "run the command again, so that it is made anew."
            )
        return found

    def copy(self, name: str, target: Path) -> None:
        """Copy a file out of the store; its bytes are checked on the way, and appear whole or not at all.

        Raises `KeyError` for a name it does not have, `IntegrityError` where the file is gone or changed,
        `ResourceError` where the target cannot be written.
        """
        copy_verified(self.folder / name, self.files[name].sha256, target)


class Description(BaseModel):
    """The content of `artifact.json`, without its digest over itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    kind: str
    stage: str
    version: int
    settings: JsonValue
    tools: dict[str, str]
    inputs: dict[str, str]
    files: dict[str, FileRecord]
    meta: dict[str, JsonValue]
    digest: str

    @staticmethod
    def of(step: Step, kind: str, files: Mapping[str, FileRecord], meta: Mapping[str, Json]) -> Description:
        """Describe what a step made. Raises `TypeError` or `ValueError` where `meta` is not JSON."""
        plain = json.loads(canonical(dict(meta)))
        return Description(
            key=step.key, kind=kind, files=dict(files), meta=plain, digest=_content(files, plain), **step.plain()
        )

    @staticmethod
    def parse(data: bytes) -> Description:
        """Read `artifact.json` and check it against itself. Raises `ValueError`, which says what does not fit."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError("is not JSON") from None
        if not isinstance(found, dict):
            raise ValueError("is not a JSON object")  # noqa: TRY004 - a file's content, not an argument's type
        if found.pop("schema", None) != SCHEMA:
            raise ValueError(f"has another schema than {SCHEMA}")
        own = found.pop("self", None)
        try:
            if own != digest_of({"schema": SCHEMA, **found}):
                raise ValueError("does not have the digest that it records of itself")
            made = Description.model_validate(found)
        except RecursionError:
            raise ValueError("is nested too deep") from None
        except ValidationError:
            raise ValueError(f"does not have the fields of {SCHEMA}") from None
        step = Step(made.stage, made.version, made.inputs, made.settings, made.tools)
        if made.key != step.key or made.digest != _content(made.files, made.meta):
            raise ValueError("records a digest that does not fit its own entries")
        return made

    def serialise(self) -> bytes:
        """The bytes of `artifact.json`."""
        plain = {"schema": SCHEMA, **self.model_dump(mode="json")}
        return json.dumps({**plain, "self": digest_of(plain)}, indent=1, allow_nan=False).encode("ascii") + b"\n"

    def artifact(self, folder: Path) -> Artifact:
        """The artifact whose files lie in `folder`."""
        made_by = MadeBy(self.stage, self.version, self.settings, self.tools)
        return Artifact(self.key, self.kind, folder, self.files, self.meta, made_by, self.inputs, self.digest)


def _content(files: Mapping[str, FileRecord], meta: object) -> str:
    return digest_of([sorted((name, record.sha256) for name, record in files.items()), meta])
