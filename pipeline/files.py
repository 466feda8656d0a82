"""Files that appear whole or not at all, and digests of what was read.

A file is written under a temporary name in the folder of its target, synced, and renamed: whoever reads
the target, also after kill -9 or a power cut, finds the old bytes or the new ones. Imports nothing heavy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from visiondeploy.errors import InputError, IntegrityError, ResourceError
from visiondeploy.models import reading

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_WRONG_KIND = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})
_CHUNK = 1 << 20


def resource_error(error: OSError, path: Path, advice: str) -> ResourceError:
    """The sentence for what the operating system refused at `path`; `advice` is the next step ("choose …")."""
    if error.errno in DISK_FULL:
        return ResourceError(f"{path}: the disk is full or the quota is used up; free space there, or {advice}.")
    if error.errno == errno.EROFS:
        return ResourceError(f"{path} is on a read-only file system and has to be written; {advice}.")
    if error.errno in _DENIED:
        return ResourceError(f"{path}: permission denied; make it accessible to this user, or {advice}.")
    if error.errno in _WRONG_KIND:
        at = _obstacle(path)
        found = "a folder, but a file has to be written there" if at.is_dir() else "not a folder, but one is needed"
        return ResourceError(f"{at} is {found}; move it away, or {advice}.")
    if error.errno == errno.ENOENT:
        return ResourceError(f"{path} does not exist or was removed while in use; run the command again, or {advice}.")
    return ResourceError(f"{path}: {error.strerror or error}; {advice}.")


def _obstacle(path: Path) -> Path:
    """The part of `path` that exists and is in the way: the topmost that is no folder, else `path`."""
    for part in (*reversed(path.parents), path):
        if os.path.lexists(part) and not part.is_dir():
            return part
    return path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8) that is seen whole or not at all, replacing one that is there.

    Raises `ResourceError` where the folder does not exist or the file cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """An open file that becomes `path` when the block ends, and vanishes without a trace when it raises.

    Raises `ResourceError` where the file cannot be written; what the block raises passes through,
    except that an operating system's error counts as one of writing.
    """
    temporary = temporary_beside(path)
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise resource_error(error, path, "choose another place") from error


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that nobody else uses, and that `is_temporary` knows."""
    return path.parent / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"


def is_temporary(path: Path) -> bool:
    """Whether a file has a name of `temporary_beside`: one that stays was left by a killed process."""
    return re.fullmatch(r"\.[0-9]+-[0-9a-f]{16}\.tmp", path.name) is not None


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut. Raises `OSError`."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def open_regular(path: Path) -> BufferedReader:
    """Open a file of the store for reading. Raises `OSError`, also for a symbolic link, a FIFO or a device."""
    return reading.open_regular(path, os.O_NOFOLLOW)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises `InputError` where the file cannot be read."""
    try:
        with reading.open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; give a file that exists.") from error


def copy_verified(source: Path, sha256: str, target: Path) -> None:
    """Copy a file whose digest is known; the target appears only if the bytes that were copied have it.

    Raises `IntegrityError` where the source is gone or has other bytes, `ResourceError` where the target
    cannot be written. An existing target then keeps its old bytes.
    """
    try:
        opened = open_regular(source)
    except OSError as error:
        raise IntegrityError(
            f"{source} cannot be read ({error.strerror}), but its digest {sha256[:12]}… is recorded; "
            "run the command again, so that it is made anew."
        ) from error
    digest = hashlib.sha256()
    with opened, replacing(target) as writing:
        while chunk := _read(opened, source):
            digest.update(chunk)
            writing.write(chunk)
        if digest.hexdigest() != sha256:
            raise IntegrityError(
                f"{source} has the digest {digest.hexdigest()[:12]}…, recorded is {sha256[:12]}…: the file was "
                "changed; run the command again, so that it is made anew."
            )


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read to its end: {error.strerror}; check the disk.") from error


def tree(folder: Path) -> tuple[list[str], list[str]]:
    """The files and the folders below `folder`, as sorted relative names with "/".

    Raises `OSError`; `errno.EINVAL` for a symbolic link or anything else that is neither file nor folder.
    """
    files: list[str] = []
    folders: list[str] = []
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                    waiting.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    files.append(name)
                else:
                    kind = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
                    raise OSError(errno.EINVAL, f"{name} is {kind}", str(folder / name))
    return sorted(files), sorted(folders)
