"""A build on disk: a folder with the artifacts of one recipe, and `build.json`, which is written last.

report.html          the report as a page; no digest, as it is made of build.json alone
build.json           the report, and under "build" the recipe, the stages, parity and every file's digest
network/             checkpoint and TensorBoard events; what engines are compared with
network-compressed/  the same of the network made smaller, if it was
compression/         what that did: report.json, compression.md, and metric over latency of all variants as PNG and SVG
network-qat/         the same of the network fine-tuned for int8, if it was: what engines are made from
onnx-fp32/           model.onnx, model.pt (TorchScript); of an ONNX file of somebody else that very file, instead of
                     network/, and onnx-int8/ or onnx-fp16/ where that is its precision
onnx-fp32-prepared/  that file with its constants folded, where other precisions are made of it
onnx-fp16/           model.onnx in half precision
onnx-int8-SCHEME/    model.onnx with the Q/DQ of a scheme and its ranges.json, one for each that a backend names
…-uint8/             what takes raw images, made of the one before; then engines/pytorch is the baseline
engines/BACKEND/     what the backend loads
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from visiondeploy.benchmarks.report.schema import Check, Report, Row
from visiondeploy.errors import InputError, IntegrityError, ResourceError, UsageError
from visiondeploy.models.reading import read_bytes
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.pipeline.files import is_temporary, resource_error, sha256_file, temporary_beside, write_atomic
from visiondeploy.pipeline.store import Artifact
from visiondeploy.types import Layer, Precision

BUILD = "build.json"

# 1: name, until, recipe, spec, network, parameters, validation, engine, engines, parity, stages, files
SCHEMA = "visiondeploy.build/1"

_ADVICE = "choose another folder with -o"

LARGEST_REPORT = 64 << 20
"""Bytes of a report that is read: a measurement with its raw values is some megabytes."""

_NO_RECORD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What taking a record apart raises where the file is something else."""

_NO_LOCKS = frozenset({errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOLCK})


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
    parameters: int | None = None
    """Of the compressed network that it was made from; None where that is the build's own."""


class BuildRecord(_Part):
    """What a build is. `network` and `validation` are digests: builds that share both can be compared.

    `engine` is the backend of the fastest engine that holds its limits; `left_out` are rows of the backends that
    "auto" could not use, or whose engines computed something else.
    """

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
    left_out: tuple[Row, ...] = ()
    parity: tuple[Check, ...]
    stages: tuple[StageRecord, ...]
    files: dict[str, str] = {}


def check_target(folder: Path) -> None:
    """Raise now what `materialise` would raise after the stages: a target that is a file or holds something else."""
    check_place(folder)
    try:
        _files_of(folder)
    except OSError as error:
        raise resource_error(error, folder, _ADVICE) from error


def check_place(folder: Path) -> None:
    """Raise `ResourceError` where `folder` is no folder and cannot become one, or cannot be written.

    Leaves nothing behind; in a folder that is already there nothing is written.
    """
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise ResourceError(f"{nearest} is a file, but a folder is needed there: {_ADVICE}.")
        if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))
        if nearest != folder:
            _try_out(nearest, folder)
    except OSError as error:
        raise resource_error(error, folder, _ADVICE) from error


def _try_out(place: Path, folder: Path) -> None:
    """Raise `ResourceError` where `place` takes nothing new: /proc has all permissions and refuses the writing."""
    probe = temporary_beside(place / folder.name)
    try:
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{folder} cannot be made, as {place} takes nothing new ({error.strerror}): {_ADVICE}."
        ) from error


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
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            earlier = _files_of(folder)
            current = {name for name, digest in files.items() if _is(folder / name, digest)}
            if current == files.keys() and earlier == files and (folder / BUILD).read_text(encoding="utf-8") == text:
                return complete
            _remove_temporaries(folder)
            # Names of both builds, so that a run that is killed here leaves nothing unaccounted for.
            unfinished = {"schema": SCHEMA, "incomplete": True, "build": {"files": {**earlier, **files}}}
            write_atomic(folder / BUILD, json.dumps(unfinished) + "\n")
            for name in earlier.keys() - files.keys():
                (folder / name).unlink(missing_ok=True)
                _remove_emptied(folder, name)
            for kind, artifact in artifacts.items():
                for name in artifact.files:
                    if f"{kind}/{name}" not in current:
                        target = folder / kind / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        artifact.copy(name, target)
            write_atomic(folder / BUILD, text)
    except OSError as error:
        raise resource_error(error, folder, _ADVICE) from error
    return complete


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other builds into it; free at once when the process dies. Raises `OSError`.

    The lock is on the folder itself, so that nothing is left in it or beside it.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
        except OSError as error:
            # Some file systems of networks lock no folders; there two builds at once are the user's to avoid.
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(number)


def read_build(folder: Path) -> tuple[BuildRecord, Report | None]:
    """The record of a build and its report, if it was measured. Raises `InputError`."""
    path = folder / BUILD
    try:
        text = read_bytes(path, LARGEST_REPORT)
        found = json.loads(text)
        if found.get("incomplete"):
            raise InputError(f"{folder} is incomplete: its build was interrupted; run the same `deploy build` again.")
        record = BuildRecord.model_validate(found["build"])
    except FileNotFoundError:
        raise InputError(f"{folder} is no build: it has no {BUILD}; make one with `deploy build`.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (*_NO_RECORD, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a build's record ({reason}): build it again.") from None
    return record, Report.from_json(text, str(path)) if "rows" in found else None


def earlier_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe of the build that a folder holds; None where it holds none that can be read."""
    with contextlib.suppress(OSError, *_NO_RECORD):
        return dict(_recorded(folder)["recipe"])
    return None


def _recorded(folder: Path) -> dict[str, Any]:
    """What `build.json` has under "build", not validated. Raises `OSError`, or one of `_NO_RECORD`."""
    found: dict[str, Any] = json.loads(read_bytes(folder / BUILD, LARGEST_REPORT))["build"]
    return found


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
    """The files that an earlier build recorded and that are there.

    Raises `UsageError` for a folder that holds something else, also where that has a `build.json` of its own.
    """
    if not folder.exists():
        return {}
    if not (folder / BUILD).is_file():
        # A run that was killed before its first record leaves that record's temporary file.
        if not all(map(is_temporary, folder.iterdir())):
            raise UsageError(f"{folder} holds files but no {BUILD}: choose an empty or new folder with -o.")
        return {}
    with contextlib.suppress(*_NO_RECORD):
        files = _recorded(folder)["files"]
        return {name: digest for name, digest in files.items() if _is_own(folder, name)}
    # A damaged record of ours may be written anew; what another program calls so may not.
    if not (folder / "network" / "network.json").is_file():
        raise UsageError(f"{folder / BUILD} is not the record of a build: choose an empty or new folder with -o.")
    return {}


def _is_own(folder: Path, name: str) -> bool:
    """Whether a recorded name is a file below the folder: an edited record must not delete anything elsewhere."""
    relative, path = Path(name), folder / name
    if relative.is_absolute() or ".." in relative.parts or relative == Path(BUILD):
        return False
    with contextlib.suppress(OSError, ValueError):
        return path.parent.resolve().is_relative_to(folder.resolve()) and (path.is_file() or path.is_symlink())
    return False


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_file(path) == digest


def _remove_temporaries(folder: Path) -> None:
    """What a killed run was writing. The lock of the folder is held, so nobody is writing it now."""
    for path in filter(is_temporary, folder.rglob(".*.tmp")):
        path.unlink(missing_ok=True)


def _remove_emptied(folder: Path, name: str) -> None:
    """Remove the folders that a removed file leaves empty; somebody else's empty folders stay."""
    for parent in (folder / name).parents:
        if parent == folder:
            break
        with contextlib.suppress(OSError):
            parent.rmdir()
