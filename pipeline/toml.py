"""Plain values written as TOML; `models/reading.py` reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def write_toml(data: Mapping[str, Any]) -> str:
    """TOML text of plain values, lists and sections, which `tomllib` reads back as equal.

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
