"""A copy of a bundle of our own: a folder or an archive, read without trust.

Whatever is checked, parsed or loaded afterwards are the files of the copy, which lies in a folder that nobody else can
open. So what was checked is what is used, whoever writes to the bundle meanwhile.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.errors import InputError, IntegrityError
from visiondeploy.models.reading import open_regular, read_bytes
from visiondeploy.pipeline.bundle.archive import FILE_MODE, LARGEST_SIGNATURE, unpack
from visiondeploy.pipeline.bundle.manifest import LARGEST_MANIFEST, MANIFEST, SIGNATURE, Manifest
from visiondeploy.pipeline.files import resource_error

FOLDER_MODE = 0o755
_CHUNK = 1 << 20
_AGAIN = "do not use it; make it again with `deploy bundle`"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The copy: `folder` holds `manifest.json`, perhaps `signature.json`, and what the manifest lists, of that size."""

    folder: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes of all that the manifest lists."""
        return sum(entry.size for entry in self.manifest.files)


@contextmanager
def snapshot(bundle: Path) -> Iterator[Snapshot]:
    """The copy, which is removed afterwards. Digests are not checked yet.

    Raises `InputError` for what is no bundle, `IntegrityError` for files, folders, types, sizes and modes that are not
    as the manifest has them, `ResourceError` where the copy does not fit.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="visiondeploy-") as name:
            folder = Path(name) / "bundle"
            try:
                folder.mkdir(mode=0o700)
                manifest = _copy(bundle, folder) if bundle.is_dir() else unpack(bundle, folder)
            except OSError as error:
                raise resource_error(error, folder, "set TMPDIR to another folder") from error
            yield Snapshot(folder, manifest)
    except FileNotFoundError as error:
        raise resource_error(error, Path(tempfile.gettempdir()), "set TMPDIR to a folder") from error


def _copy(bundle: Path, folder: Path) -> Manifest:
    try:
        data = read_bytes(bundle / MANIFEST, LARGEST_MANIFEST)
    except OSError as error:
        raise InputError(
            f"{bundle} has no {MANIFEST} that can be read ({error.strerror}), expected a bundle: make one with "
            "`deploy bundle`."
        ) from None
    manifest = Manifest.from_json(data, str(bundle / MANIFEST))
    sizes = {entry.path: entry.size for entry in manifest.files} | {MANIFEST: len(data)}
    found = _check_tree(bundle, sizes.keys())
    (folder / MANIFEST).write_bytes(data)
    for name in sorted(found - {MANIFEST}):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(bundle / name, folder / name, sizes.get(name))
    return manifest


def _check_tree(bundle: Path, listed: Set[str]) -> set[str]:
    """The files of a folder: those listed and perhaps the signature. Raises `IntegrityError` for anything else."""
    parts = [name.split("/") for name in listed]
    above = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part))}
    found: set[str] = set()
    waiting = [""]
    while waiting:
        for name, status in _entries(bundle, waiting.pop()):
            kind = stat.S_IFMT(status.st_mode)
            if name in above:
                _check_entry(bundle, name, status, stat.S_IFDIR, FOLDER_MODE)
                waiting.append(f"{name}/")
            elif name in listed or name == SIGNATURE:
                _check_entry(bundle, name, status, stat.S_IFREG, FILE_MODE)
                found.add(name)
            else:
                what = "a folder that holds nothing of the bundle" if kind == stat.S_IFDIR else "which is not its own"
                raise IntegrityError(f"{bundle} has {name!r}, {what}: its {MANIFEST} does not list it; {_AGAIN}.")
    if missing := sorted(listed - found):
        raise IntegrityError(f"{bundle} lacks {missing[0]}, which its {MANIFEST} lists: copy it again.")
    return found


def _entries(bundle: Path, prefix: str) -> list[tuple[str, os.stat_result]]:
    """What is in a folder of the bundle, by name."""
    try:
        with os.scandir(bundle / prefix) as entries:
            return sorted((prefix + entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise InputError(f"{bundle / prefix} cannot be read ({error.strerror}): check its permissions.") from None


_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def _check_entry(bundle: Path, name: str, status: os.stat_result, kind: int, mode: int) -> None:
    """Raise `IntegrityError` for another kind of entry, or another mode."""
    found = stat.S_IFMT(status.st_mode)
    if found != kind:
        said = _KINDS.get(found, "something unknown")
        raise IntegrityError(f"{bundle} has {name!r}, {said}, expected {_KINDS[kind]}: {_AGAIN}.")
    if stat.S_IMODE(status.st_mode) != mode:
        raise IntegrityError(
            f"{bundle / name} has mode {stat.S_IMODE(status.st_mode):04o}, expected {mode:04o}: `chmod {mode:o}` it "
            "where that is the doing of a copy; else do not use it."
        )


def _copy_file(source: Path, target: Path, size: int | None) -> None:
    """Copy a file that has to have `size` bytes; of the signature None is known."""
    limit = LARGEST_SIGNATURE if size is None else size
    try:
        reading = open_regular(source, os.O_NOFOLLOW)
    except OSError as error:
        raise IntegrityError(f"{source} cannot be read ({error.strerror}): check its permissions.") from None
    with reading, target.open("xb") as writing:
        held = os.fstat(reading.fileno()).st_size
        if held > limit or (size is not None and held != size):
            raise IntegrityError(f"{source} has {held:,} bytes, expected {limit:,}: {_AGAIN}.")
        # Not to its end: a file that grows meanwhile has no other.
        while held and (chunk := reading.read(min(held, _CHUNK))):
            writing.write(chunk)
            held -= len(chunk)
    if held:
        raise IntegrityError(f"{source} became shorter while it was read: copy the bundle again.")
