"""TOML as people write it: read with sentences for what is wrong, and written back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visiondeploy.errors import InputError

# A recipe is some kilobytes. The limit is for /dev/zero and for an image that was given by mistake.
_LARGEST = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises `InputError` where it cannot be read, is not UTF-8 or not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: give a TOML file that exists.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected is a TOML file: give one in it.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)!r} cannot be read: {reason}; give a TOML file that exists.") from None
    if len(data) > _LARGEST:
        raise InputError(f"{path} is larger than 1 MB, expected is a TOML file written by hand: give another.")
    try:
        # Windows editors put a byte order mark first, which TOML does not know.
        return parse_toml(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 (line {line}): save it as UTF-8 text.") from None


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """The content of TOML text; `origin` names it in errors. Raises `InputError` where it is not TOML."""
    try:
        # With an end of line, an error in the last line is placed there and not "at end of document".
        return tomllib.loads(text + "\n")
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin} is not TOML: {error}; mend that line.") from None
    except RecursionError:
        raise InputError(f"{origin} is nested too deep: write one level of sections.") from None
    except ValueError:
        raise InputError(f"{origin} has a number of thousands of digits: write a smaller one.") from None


def write_toml(data: Mapping[str, Any]) -> str:
    """TOML text of plain values, lists and sections, which `parse_toml` reads back as equal.

    Raises `ValueError` for a number that is not finite, `TypeError` for what TOML does not have, as None.
    """
    lines: list[str] = []
    _section(data, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(values: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    if path:
        lines += ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(name)} = {_value(value)}" for name, value in values.items() if not isinstance(value, dict)]
    for name, value in values.items():
        if isinstance(value, dict) and value:
            _section(value, (*path, name), lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(name)} = {_value(item)}' for name, item in value.items())}}}"
    if value is None:
        raise TypeError("TOML has no null")
    # JSON's spelling is TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
