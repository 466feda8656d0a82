"""Small files that people give, read without trust: a regular file, up to a limit, and TOML with sentences.

A path may lead to a FIFO, which waits for a writer for ever, or to a device, which never ends.
"""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any

from visiondeploy.errors import InputError

# A recipe or a description is some kilobytes. The limit is for an image that was given by mistake.
LARGEST = 1 << 20

# Deeper than any recipe, and well within the recursion that validating and printing a value takes.
_DEEPEST = 200


def open_regular(path: Path, flags: int = 0) -> BufferedReader:
    """Open a regular file for reading, with more `flags` of `os.open`; a symbolic link is followed.

    Raises `OSError`, also for a folder, a FIFO, a device and a name that no file can have.
    """
    try:
        # O_NONBLOCK: the open of a FIFO would wait for a writer.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(number, "rb")


def read_bytes(path: Path, limit: int = LARGEST) -> bytes:
    """The bytes of a regular file. Raises as `open_regular`, and `errno.EFBIG` where there are more than `limit`."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit >> 20} MB", str(path))
    return data


def read_toml(path: Path, wanted: str = "a TOML file") -> tuple[dict[str, Any], bytes]:
    """The content of a TOML file, and its bytes; `wanted` says in errors what was expected.

    Raises `InputError` where it cannot be read, is larger than 1 MB, not UTF-8 or not TOML.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}, expected {wanted}: check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected {wanted}: give one in it.") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InputError(f"{path} is {error.strerror}, expected {wanted} written by hand: give another.") from None
        raise InputError(
            f"{str(path)!r} cannot be read: {error.strerror}, expected {wanted}: check the path."
        ) from None
    try:
        # Windows editors put a byte order mark first, which TOML does not know.
        return parse_toml(data.decode("utf-8-sig"), str(path)), data
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 (line {line}): save it as UTF-8 text.") from None


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """The content of TOML text; `origin` names it in errors. Raises `InputError` where it is not TOML."""
    try:
        # With an end of line, an error in the last line is placed there and not "at end of document".
        found = tomllib.loads(text + "\n")
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin} is not TOML: {error}; mend that line.") from None
    except RecursionError:
        raise _too_deep(origin) from None
    except ValueError:
        raise InputError(f"{origin} has a number of thousands of digits: write a smaller one.") from None
    # Dotted keys nest without recursion in the parser, but everything after it recurses.
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        level = [below for value in level for below in _below(value)]
    if level:
        raise _too_deep(origin)
    return found


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep(origin: str) -> InputError:
    return InputError(f"{origin} is nested too deep: write one level of sections.")
