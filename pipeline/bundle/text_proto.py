"""Protocol buffers in their text format, as far as configurations need it. What is written is a field by field list.

A message is a sequence of pairs, in the order of writing: a field's name and its value, which is a message itself, a
`Symbol` of an enumeration, or a number, text or truth value. A field that repeats is there several times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias


class Symbol(str):
    """A name of an enumeration, which stands without quotes."""

    __slots__ = ()


Value: TypeAlias = "bool | int | float | str | Symbol | Message"
Message: TypeAlias = Sequence[tuple[str, Value]]


def to_text(message: Message) -> str:
    """The message as text with a final newline, two spaces for each level."""
    return "\n".join(_lines(message, 0)) + "\n"


def _lines(message: Message, depth: int) -> Iterator[str]:
    space = "  " * depth
    for name, value in message:
        if isinstance(value, bool | int | float | str):
            yield f"{space}{name}: {_scalar(value)}"
        elif not value:
            yield f"{space}{name} {{}}"
        else:
            yield f"{space}{name} {{"
            yield from _lines(value, depth + 1)
            yield f"{space}}}"


def _scalar(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol | int | float):
        return str(value)
    return f'"{"".join(map(_escaped, value.encode()))}"'


def _escaped(byte: int) -> str:
    """A byte of UTF-8 as it stands between quotes: in octal where it is not plain."""
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03o}"
