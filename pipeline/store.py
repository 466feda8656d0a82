"""A store of artifacts that are addressed by what makes them, and verified before each use.

    root/artifacts/ab/abcd…/   one artifact: its files and artifact.json; appears at once, by a rename
    root/tmp/abcd…-pid-random/ where a stage writes; what a dead process left is removed by the next of that key
    root/work/abcd…/           where a stage keeps what it can resume from; removed when the artifact is there
    root/locks/abcd…           held (flock) while an artifact is made; free at once when its holder dies

Correctness rests on the rename and on digests alone, never on times. A hit takes no lock, so that a
read-only store serves what it holds. An entry that is damaged is reported, removed and made anew.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from visiondeploy.errors import ResourceError, VisionDeployError
from visiondeploy.pipeline.artifact import (
    DESCRIPTION,
    Artifact,
    Description,
    FileRecord,
    Json,
    MadeBy,
    Step,
    key,
    tool_versions,
)
from visiondeploy.pipeline.files import (
    DISK_FULL,
    copy_verified,
    open_regular,
    resource_error,
    sha256_file,
    sync_folder,
    tree,
    write_atomic,
)

__all__ = [
    "Artifact",
    "FileRecord",
    "Json",
    "MadeBy",
    "Ran",
    "Step",
    "Store",
    "copy_verified",
    "key",
    "sha256_file",
    "tool_versions",
    "write_atomic",
]

_LOG = logging.getLogger(__name__)
_ADVICE = "set VISIONDEPLOY_CACHE to another folder"

# What says that an entry is damaged. Any other error of the system (no permission, no memory, too many open
# files) says nothing of the entry, and removing it would lose good work.
_DAMAGE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EIO, errno.EISDIR, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of `Store.run`; `seconds` is how long the call took, with waiting."""

    artifact: Artifact
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Damaged:
    """Why an entry is not served."""

    reason: str


class Store:
    """Artifacts below one folder, which is created on first use. Processes and threads may share it.

    `on_warning` gets a sentence when a damaged entry is found, `on_wait` one when another process makes
    the same artifact; without them both go to the log.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_warning: Callable[[str], None] = _LOG.warning,
        on_wait: Callable[[str], None] = _LOG.info,
    ) -> None:
        self.root = root.absolute()
        self._on_warning = on_warning
        self._on_wait = on_wait

    def get(self, key: str) -> Artifact | None:
        """The artifact of a key, with every byte verified, or None.

        A damaged entry is reported to `on_warning` and removed; it is left where it is if the store is
        read-only or another process holds its lock. Raises `ResourceError` where the store cannot be read.
        """
        found = self._verify(key)
        if not isinstance(found, _Damaged):
            return found
        self._warn(key, found)
        # Only under the lock is it sure that what gets removed is what was verified, not its successor.
        with suppress(ResourceError), self._locked(key, "", wait=False):
            if isinstance(self._verify(key), _Damaged):
                self._remove(key)
        return None

    def run(self, step: Step, kind: str, make: Callable[[Path], Mapping[str, Json]]) -> Ran:
        """The artifact of a step: from the store, or made now.

        `make` gets an empty folder, fills it, and returns what is worth recording, as JSON. Regular files
        only; `artifact.json` is the store's own name; empty folders are dropped. When it raises, also
        `KeyboardInterrupt`, nothing is kept but `work(step.key)`.

        Of several processes with the same step one makes, the others wait and get a hit.
        Raises `ResourceError` for disk, permission and lock, and what `make` raises.
        """
        start = time.monotonic()
        artifact, cached = self.get(step.key), True
        if artifact is None:
            with self._locked(step.key, step.stage, wait=True):
                self._sweep(step.key)
                artifact = self._intact(step.key)
                if artifact is None:
                    artifact, cached = self._make(step, kind, make), False
        # Also after a hit: the process that made it may have died before it came here.
        shutil.rmtree(self._work(step.key), ignore_errors=True)
        return Ran(artifact, cached, time.monotonic() - start)

    def work(self, key: str) -> Path:
        """A folder for what a stage can resume from. It outlives a crash; `run` removes it after success.

        Call it inside `make`, where the lock of the key is held. Raises `ResourceError`.
        """
        folder = self._work(key)
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _folder(self, key: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", key):
            raise ValueError(f"{key!r} is not a key: 64 hexadecimal digits were expected")
        return self.root / "artifacts" / key[:2] / key

    def _work(self, key: str) -> Path:
        return self.root / "work" / self._folder(key).name

    def _temporary(self, key: str) -> Path:
        return self.root / "tmp" / f"{key}-{os.getpid()}-{secrets.token_hex(8)}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the operating system's errors into sentences."""
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> ResourceError:
        path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else self.root
        # A path that does not exist yet tells the user little: what refused is the folder it would be in.
        while error.errno != errno.ENOENT and not os.path.lexists(path):
            path = path.parent
        return resource_error(error, path, _ADVICE)

    def _warn(self, key: str, damaged: _Damaged) -> None:
        self._on_warning(f"{self._folder(key)} is damaged and will be made anew: {damaged.reason}.")

    @contextmanager
    def _locked(self, key: str, stage: str, *, wait: bool) -> Iterator[None]:
        """Hold the lock of a key. Raises `ResourceError`, also where it is held by another and not to `wait` for."""
        path = self.root / "locks" / self._folder(key).name
        lock = FileLock(path)
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not wait:
                    raise
                self._on_wait(f"waiting for {_holder(path)}, which runs the stage '{stage}' ({key[:12]}) already.")
                lock.acquire(timeout=-1)
        try:
            with suppress(OSError):
                path.write_text(f"{os.getpid()}\n", encoding="ascii")
            yield
        finally:
            lock.release()

    def _sweep(self, key: str) -> None:
        """Remove what killed processes left. The lock of the key is held, so none of its folders is in use."""
        for left in (self.root / "tmp").glob(f"{key}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _remove(self, key: str) -> None:
        """Take an entry away, at once for all who look. The lock is held. Raises `ResourceError`."""
        aside = self._temporary(key)
        with self._explained():
            aside.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._folder(key).rename(aside)
        if aside.is_symlink() or aside.is_file():
            aside.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)

    def _verify(self, key: str) -> Artifact | _Damaged | None:
        """Read an entry and check all of it; changes nothing. Raises `ResourceError`."""
        folder = self._folder(key)
        with self._explained():
            try:
                mode = folder.lstat().st_mode
            except FileNotFoundError:
                return None
            if not stat.S_ISDIR(mode):
                return _Damaged("it is not a folder")
            try:
                return _read(key, folder)
            except ValueError as error:
                return _Damaged(str(error))
            except OSError as error:
                if error.errno not in _DAMAGE:
                    raise
                # Whole entries only ever vanish whole.
                return _Damaged(f"{error.strerror}: {error.filename}") if os.path.lexists(folder) else None

    def _intact(self, key: str) -> Artifact | None:
        """As `get`, under the lock."""
        found = self._verify(key)
        if not isinstance(found, _Damaged):
            return found
        self._warn(key, found)
        self._remove(key)
        return None

    def _make(self, step: Step, kind: str, make: Callable[[Path], Mapping[str, Json]]) -> Artifact:
        temporary = self._temporary(step.key)
        final = self._folder(step.key)
        try:
            with self._explained():
                temporary.mkdir(parents=True)
            meta = self._call(make, temporary)
            with self._explained():
                description = Description.of(step, kind, _record(temporary), meta)
                with (temporary / DESCRIPTION).open("xb") as file:
                    file.write(description.serialise())
                    file.flush()
                    os.fsync(file.fileno())
                sync_folder(temporary)
                final.parent.mkdir(parents=True, exist_ok=True)
                try:
                    temporary.replace(final)
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                        raise
                    # Somebody deleted the locks while they were held, and another process was first.
                    if isinstance(rival := self._verify(step.key), Artifact):
                        return rival
                    raise
                sync_folder(final.parent)
                sync_folder(final.parent.parent)
            return description.artifact(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _call(self, make: Callable[[Path], Mapping[str, Json]], temporary: Path) -> Mapping[str, Json]:
        try:
            return make(temporary)
        except VisionDeployError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise self._error(error) from error
            # Native writers (safetensors) pass the system's words on, not its error number.
            if os.strerror(errno.ENOSPC) in str(error):
                raise self._error(OSError(errno.ENOSPC, str(error))) from error
            if not temporary.is_dir():
                raise ResourceError(f"{temporary} was removed while in use; run the command again.") from error
            raise


def _holder(lock: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(lock.read_text(encoding='ascii'))}"
    return "another process"


def _record(folder: Path) -> dict[str, FileRecord]:
    """Sync and measure all files of a folder, and drop its empty folders. Raises `OSError`."""
    names, folders = tree(folder)
    if DESCRIPTION in names:
        raise ValueError(f"a stage may not write {DESCRIPTION}, which is the store's own")
    files: dict[str, FileRecord] = {}
    for name in names:
        with open_regular(folder / name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            files[name] = FileRecord(sha256=digest, size=os.fstat(file.fileno()).st_size)
    used = _parents(names)
    for name in reversed(folders):
        if name in used:
            sync_folder(folder / name)
        else:
            (folder / name).rmdir()
    return files


def _parents(names: list[str]) -> set[str]:
    return {parent.as_posix() for name in names for parent in Path(name).parents} - {"."}


def _read(key: str, folder: Path) -> Artifact:
    """An entry whose every byte is as recorded. Raises `ValueError`, or `OSError` for what cannot be read."""
    names, folders = tree(folder)
    if DESCRIPTION not in names:
        raise ValueError(f"{DESCRIPTION} is missing")
    with open_regular(folder / DESCRIPTION) as file:
        try:
            description = Description.parse(file.read())
        except ValueError as error:
            raise ValueError(f"{DESCRIPTION} {error}") from None
    if description.key != key:
        raise ValueError(f"{DESCRIPTION} belongs to another key")
    names.remove(DESCRIPTION)
    if missing := sorted(description.files.keys() - set(names)):
        raise ValueError(f"{missing[0]} is missing")
    if extra := sorted((set(names) - description.files.keys()) | (set(folders) - _parents(names))):
        raise ValueError(f"{extra[0]} does not belong there")
    for name, record in description.files.items():
        with open_regular(folder / name) as file:
            size = os.fstat(file.fileno()).st_size
            if size != record.size:
                raise ValueError(f"{name} has {size} bytes, {record.size} were recorded")
            if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                raise ValueError(f"{name} does not have the digest that was recorded")
    return description.artifact(folder)
