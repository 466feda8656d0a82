"""A build on disk: a folder with the artifacts of one recipe, and `build.json`, which is written last.

build.json           the report, and under "build" the recipe, the stages, parity and every file's digest
network/             checkpoint and TensorBoard events
onnx-fp32/           model.onnx, model.pt (TorchScript)
onnx-fp16|onnx-int8/ model.onnx in the precision that was asked for
engines/BACKEND/     what the backend loads
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from visiondeploy.benchmarks.report.schema import Check, Report
from visiondeploy.errors import InputError, IntegrityError, ResourceError, UsageError
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.pipeline.files import resource_error, sha256_file, write_atomic
from visiondeploy.pipeline.store import Artifact
from visiondeploy.types import Layer, Precision

BUILD = "build.json"

# 1: name, until, recipe, spec, network, parameters, validation, engine, engines, parity, stages, files
SCHEMA = "visiondeploy.build/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRecord(_Part):
    """A stage as it ran: its key in the store, the digest of what it made, and what it found."""

    name: str
    key: str
    digest: str
    meta: dict[str, Any]


class Engine(_Part):
    """An engine of the build: where it lies, and the layers as the runtime executes them."""

    backend: str
    precision: Precision
    folder: str
    size_bytes: int
    layers: tuple[Layer, ...]
    stored: dict[str, int]


class BuildRecord(_Part):
    """What a build is. `network` and `validation` are digests: builds that share both can be compared."""

    name: str
    visiondeploy: str
    until: str
    recipe: dict[str, Any]
    spec: NetworkSpec
    network: str
    parameters: int
    validation: str
    engine: str | None
    engines: tuple[Engine, ...]
    baseline: Engine | None
    parity: tuple[Check, ...]
    stages: tuple[StageRecord, ...]
    files: dict[str, str] = {}


def check_target(folder: Path) -> None:
    """Raise now what `materialise` would raise after the stages: a target that is a file or holds something else."""
    _files_of(folder)


def materialise(
    folder: Path, artifacts: Mapping[str, Artifact], record: BuildRecord, report: Report | None
) -> BuildRecord:
    """Lay artifacts out below `folder`, copying only what is not there already; returns the record with digests.

    While it works, `build.json` says that the folder is incomplete; the final one is written last. Files
    of an earlier build that this one does not have are removed; other people's files stay. Raises
    `UsageError` where the folder holds something that is no build, `ResourceError` where it cannot be written.
    """
    files = {
        f"{place}/{name}": entry.sha256
        for place, artifact in artifacts.items()
        for name, entry in artifact.files.items()
    }
    complete = record.model_copy(update={"files": files})
    text = _serialise(complete, report)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            earlier = _files_of(folder)
            current = {name for name, digest in files.items() if _is(folder / name, digest)}
            if current == files.keys() and earlier == files and (folder / BUILD).read_text(encoding="utf-8") == text:
                return complete
            folder.mkdir(exist_ok=True)
            # Names of both builds, so that a run that is killed here leaves nothing unaccounted for.
            unfinished = {"schema": SCHEMA, "incomplete": True, "build": {"files": {**earlier, **files}}}
            write_atomic(folder / BUILD, json.dumps(unfinished) + "\n")
            for name in earlier.keys() - files.keys():
                (folder / name).unlink(missing_ok=True)
            for place, artifact in artifacts.items():
                for name in artifact.files:
                    if f"{place}/{name}" not in current:
                        target = folder / place / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        artifact.copy(name, target)
            _remove_empty(folder)
            write_atomic(folder / BUILD, text)
    except OSError as error:
        raise resource_error(error, folder, "choose another folder with -o") from error
    return complete


def read_build(folder: Path) -> tuple[BuildRecord, Report | None]:
    """The record of a build and its report, if it was measured. Raises `InputError`."""
    path = folder / BUILD
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
        if found.get("incomplete"):
            raise InputError(f"{folder} is incomplete: its build was interrupted; run the same `deploy build` again.")
        record = BuildRecord.model_validate(found["build"])
    except FileNotFoundError:
        raise InputError(f"{folder} is no build: it has no {BUILD}; make one with `deploy build`.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a build's record ({reason}): build it again.") from None
    return record, Report.from_json(text, str(path)) if "rows" in found else None


def verify(folder: Path, record: BuildRecord, places: tuple[str, ...] = ("",)) -> None:
    """Check the digest of every file below `places`. Raises `IntegrityError`, which names the first that differs."""
    for name, digest in record.files.items():
        if name.startswith(places) and not _is(folder / name, digest):
            what = "has other bytes than were built" if (folder / name).exists() else "is missing"
            raise IntegrityError(f"{folder / name} {what}: run the same `deploy build` again, which restores it.")


def _serialise(record: BuildRecord, report: Report | None) -> str:
    found: dict[str, Any] = json.loads(report.to_json()) if report else {"schema": SCHEMA}
    return json.dumps({**found, "build": record.model_dump(mode="json")}, indent=1, allow_nan=False) + "\n"


def _files_of(folder: Path) -> dict[str, str]:
    """The files that an earlier build recorded. Raises `UsageError` for a folder that holds something else."""
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise ResourceError(f"{folder} is a file, a build needs a folder: choose another name with -o.")
    if not (folder / BUILD).exists():
        if any(folder.iterdir()):
            raise UsageError(f"{folder} holds files but no {BUILD}: choose an empty or new folder with -o.")
        return {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        files = json.loads((folder / BUILD).read_text(encoding="utf-8"))["build"]["files"]
        return {name: digest for name, digest in files.items() if _inside(name)}
    return {}


def _inside(name: str) -> bool:
    """Whether a recorded name stays below the folder: an edited record must not delete files elsewhere."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_file(path) == digest


def _remove_empty(folder: Path) -> None:
    """Folders that an earlier build filled and this one does not."""
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
