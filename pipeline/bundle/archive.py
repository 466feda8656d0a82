"""A bundle as one file, NAME.tar.zst: one zstd frame around one tar, both in the one spelling that is written here.

The tar (POSIX.1-1988 "ustar") holds `manifest.json`, then `signature.json` if there is one, then the files in the
manifest's order: regular files of mode 0644, without owners and times, and no folders, which follow from the paths. So
once the manifest is read each next header is known, byte for byte, and whatever else an archive can hold (links,
devices, sparse files, `../`, absolute paths, a second file of one name, extended headers) is not that header.
The frame (RFC 8878) says how long its content is and has a checksum; nothing follows it.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from visiondeploy.errors import InputError, IntegrityError, ResourceError
from visiondeploy.models.reading import open_regular
from visiondeploy.pipeline.bundle.manifest import LARGEST_MANIFEST, MANIFEST, SIGNATURE, Manifest, is_plain
from visiondeploy.pipeline.files import replacing

ENDING = ".tar.zst"
FILE_MODE = 0o644

LARGEST_SIGNATURE = 4 << 20
"""Bytes of a signature that is read."""

LARGEST_BUNDLE = 64 << 30
"""Bytes that an archive may unpack to, whatever its manifest says."""

LARGEST_RATIO, FREE_OF_RATIO = 100, 64 << 20
"""How many times its own size an archive may unpack to, and the bytes up to which that does not matter.

Weights shrink by a tenth and reports by nine tenths, so no bundle comes near; a frame of zeros shrinks to 1 : 30,000.
"""

_LEVEL = 9
_WINDOW = 1 << 27
"""Bytes of memory that a frame may ask for: the default of `zstd -d`."""

_BLOCK = 512
_END = 2 * _BLOCK
_CHUNK = 1 << 20
_MAGIC = b"\x28\xb5\x2f\xfd"
_RESERVED_BITS = 0b11000
_AGAIN = "make it again with `deploy bundle -o`"

_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.CONTTYPE: "a contiguous file",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "an extended header",
    tarfile.GNUTYPE_LONGLINK: "an extended header",
    tarfile.XHDTYPE: "an extended header",
    tarfile.XGLTYPE: "an extended header",
    tarfile.SOLARIS_XHDTYPE: "an extended header",
}


def pack(folder: Path, target: Path) -> None:
    """Write the bundle in `folder`, which holds what its manifest lists, as one file; the same bytes each time.

    Raises `InputError` where the manifest cannot be read, `ResourceError` where `target` cannot be written.
    """
    import zstandard

    manifest = Manifest.from_json((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    names = [MANIFEST, *([SIGNATURE] if (folder / SIGNATURE).exists() else []), *(f.path for f in manifest.files)]
    sizes = {name: (folder / name).stat().st_size for name in names}
    total = sum(_BLOCK + _padded(size) for size in sizes.values()) + _END
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)
    with replacing(target) as file, compressor.stream_writer(file, size=total, closefd=False) as writing:
        for name in names:
            writing.write(_header(name, sizes[name]))
            with (folder / name).open("rb") as source:
                for chunk in iter(lambda: source.read(_CHUNK), b""):
                    writing.write(chunk)
            writing.write(bytes(_padded(sizes[name]) - sizes[name]))
        writing.write(bytes(_END))


def unpack(path: Path, folder: Path) -> Manifest:
    """Lay the files of an archive out in `folder`, which is empty and ours alone; returns its manifest.

    What was laid out has the sizes that the manifest lists; its digests are still to be checked. Raises `InputError`
    for what is no bundle, `IntegrityError` for one that is damaged or holds what `pack` does not write,
    `ResourceError` where it would not fit, `OSError` where `folder` cannot be written.
    """
    with _opened(path) as file:
        _check_frame(file, path, folder)
        source = _Source(file, path)
        manifest = _manifest(source, path)
        (folder / MANIFEST).write_bytes(manifest.to_json().encode())
        for name, size in _members(source, manifest, path):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as target:
                target.writelines(_body(source, size, path))
        if source.take(_END - _BLOCK).strip(b"\0") or source.read(1):
            raise IntegrityError(f"{path} goes on after the last file that its manifest lists: {_AGAIN}.")
    return manifest


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), expected a bundle: check the path.") from None


def _check_frame(file: BinaryIO, path: Path, folder: Path) -> None:
    """Raise for what is not one whole frame of a known length that fits; leaves `file` at its beginning.

    The decompressor would skip what follows the frame, and has no use for two bits of its header.
    """
    import zstandard

    held = os.fstat(file.fileno()).st_size
    start = file.read(18)
    if not start.startswith(_MAGIC):
        raise InputError(f"{path} is neither a folder nor a {ENDING} file, expected a bundle of `deploy bundle`.")
    try:
        frame = zstandard.get_frame_parameters(start)
        place = zstandard.frame_header_size(start)
    except zstandard.ZstdError:
        raise IntegrityError(f"{path} is cut off or damaged in its first bytes: copy it again.") from None
    length = frame.content_size
    if length == zstandard.CONTENTSIZE_UNKNOWN or not frame.has_checksum or frame.dict_id or start[4] & _RESERVED_BITS:
        raise IntegrityError(f"{path} was not packed by `deploy bundle` (no length or checksum): {_AGAIN}.")
    if length > max(FREE_OF_RATIO, LARGEST_RATIO * held) or length > LARGEST_BUNDLE:
        raise IntegrityError(
            f"{path} of {held:,} bytes would unpack to {length:,}, expected at most {LARGEST_RATIO} times its size and "
            f"{LARGEST_BUNDLE >> 30} GiB: no bundle does; do not unpack it."
        )
    _check_room(folder, length, path)
    last = False
    while not last:
        file.seek(place)
        header = int.from_bytes(file.read(3), "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        # A block that is one byte again and again holds that byte alone.
        place += 3 + (1 if kind == 1 else size)
        if place + 4 > held:
            raise IntegrityError(f"{path} is cut off ({held:,} bytes): copy it again.")
    if place + 4 != held:
        raise IntegrityError(f"{path} has {held - place - 4:,} bytes after its end: {_AGAIN}.")
    file.seek(0)


def _check_room(folder: Path, needed: int, path: Path) -> None:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise ResourceError(
            f"{path} unpacks to {needed:,} bytes, and {folder.parent} has {free:,}: free space there or set TMPDIR."
        )


class _Source:
    """The content of the frame, in pieces of a size that the caller names."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        import zstandard

        self._failure = zstandard.ZstdError
        self._path = path
        self._reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises `IntegrityError` where they cannot be had."""
        try:
            return self._reader.read(size)
        except self._failure:
            raise IntegrityError(f"{self._path} is damaged, it does not decompress: copy it again.") from None

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises `IntegrityError`."""
        parts = []
        while size:
            parts.append(self.read(size))
            size -= len(parts[-1])
            if not parts[-1]:
                raise IntegrityError(f"{self._path} ends within a file: copy it again.")
        return b"".join(parts)


def _manifest(source: _Source, path: Path) -> Manifest:
    block = source.take(_BLOCK)
    info = _parsed(block)
    if info is None or info.name != MANIFEST:
        found = "no tar" if info is None else f"a tar that begins with {info.name[:100]!r}"
        raise InputError(f"{path} holds {found}, expected a bundle, which begins with its {MANIFEST}: {_AGAIN}.")
    if info.size > LARGEST_MANIFEST:
        raise InputError(f"{path} has a {MANIFEST} of {info.size:,} bytes, expected at most {LARGEST_MANIFEST:,}.")
    _check_header(block, MANIFEST, info.size, path)
    return Manifest.from_json(b"".join(_body(source, info.size, path)), f"{path}: {MANIFEST}")


def _members(source: _Source, manifest: Manifest, path: Path) -> Iterator[tuple[str, int]]:
    """Name and size of each file, when its header was read and is the one that is due."""
    block = source.take(_BLOCK)
    info = _parsed(block)
    if info is not None and info.name == SIGNATURE:
        if info.size > LARGEST_SIGNATURE:
            raise IntegrityError(f"{path} has a {SIGNATURE} of {info.size:,} bytes: sign it again.")
        _check_header(block, SIGNATURE, info.size, path)
        yield SIGNATURE, info.size
        block = source.take(_BLOCK)
    for entry in manifest.files:
        _check_header(block, entry.path, entry.size, path)
        yield entry.path, entry.size
        block = source.take(_BLOCK)
    if block.strip(b"\0"):
        info = _parsed(block)
        found = "no header" if info is None else repr(info.name[:100])
        raise IntegrityError(f"{path} has {found} after the files that its {MANIFEST} lists: do not use it; {_AGAIN}.")


def _check_header(block: bytes, name: str, size: int, path: Path) -> None:
    if block != _header(name, size):
        raise IntegrityError(f"{path} has {_instead(block, name, size)}: do not use it; {_AGAIN}.")


def _instead(block: bytes, name: str, size: int) -> str:
    """What a member is that is not the one that is due."""
    info = _parsed(block)
    if info is None:
        return f"no header of a file where {name} is due"
    shown = repr(info.name[:100])
    if not info.isreg() or info.issparse():
        return f"{_KINDS.get(info.type, 'a member of an unknown kind')} called {shown} where {name} is due"
    found = (
        (not is_plain(info.name), f"a member called {shown}, which is no plain relative path"),
        (info.name != name, f"{shown} where {name} is due"),
        (info.size != size, f"{info.size:,} bytes of {name}, of which its {MANIFEST} lists {size:,}"),
        (info.mode != FILE_MODE, f"{name} with mode {info.mode:04o}, expected {FILE_MODE:04o}"),
        (True, f"a header of {name} with an owner, a time or another spelling than `deploy bundle` writes"),
    )
    return next(said for true, said in found if true)


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError):
        return None


def _header(name: str, size: int) -> bytes:
    """The header of a file: mode 0644, everything else zero. Raises `InputError` for a name that does not fit."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, FILE_MODE
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError:
        raise InputError(f"{name} has too long a path or is too large for a tar: give a folder instead.") from None


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _body(source: _Source, size: int, path: Path) -> Iterator[bytes]:
    """The bytes of a file, and past the zeros that fill its last block."""
    left = size
    while left:
        yield (chunk := source.take(min(left, _CHUNK)))
        left -= len(chunk)
    if source.take(_padded(size) - size).strip(b"\0"):
        raise IntegrityError(f"{path} has bytes between two of its files: do not use it; {_AGAIN}.")
