"""What is wrong with a recipe, in one sentence: pydantic's findings in the user's words.

What was expected is read from the JSON schema of the model, so that each new field, with its bounds
and choices, has its sentence the day it is added.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from visiondeploy.errors import UsageError

Keypath = tuple[str | int, ...]
Schema = Mapping[str, Any]

_LONGEST = 60


def dotted(path: Keypath) -> str:
    """A key as the user writes it.

    >>> dotted(("input", "std", 1))
    'input.std[1]'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return _cut(text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text)


def shown(value: object) -> str:
    """A value as it is named in a sentence, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return _cut(f"[{', '.join(shown(item) for item in value[:9])}{', …' if len(value) > 9 else ''}]")
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number of more than 18 digits"
    return repr(_cut(value)) if isinstance(value, str) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    """Of a recipe it takes a tenth of a second, and of several mistakes each is asked for again."""
    return model.model_json_schema()


class Keys:
    """What a model has, and what it expects where."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._schema = _schema_of(model)

    def at(self, path: Keypath) -> Schema | None:
        """The schema of a value, None where the model has none."""
        schema = self._resolve(self._schema)
        for part in path:
            below = _below(schema, part)
            if below is None:
                return None
            schema = self._resolve(below)
        return schema

    def leaves(self) -> Iterator[str]:
        """All keys, dotted: sections and what is in them."""
        yield from self._leaves(self._resolve(self._schema), ())

    def _leaves(self, schema: Schema, path: Keypath) -> Iterator[str]:
        for name, below in schema.get("properties", {}).items():
            yield dotted((*path, name))
            yield from self._leaves(self._resolve(below), (*path, name))

    def _resolve(self, schema: Schema) -> Schema:
        """Without references and "or null", which TOML cannot say."""
        while True:
            if "$ref" in schema:
                schema = self._schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
            elif len(some := [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]) == 1:
                schema = some[0]
            elif len(schema.get("allOf", ())) == 1:
                schema = schema["allOf"][0]
            else:
                return schema

    def expected(self, schema: Schema) -> str:
        """What a value has to be: "a number from 0 to 1"."""
        schema = self._resolve(schema)
        if "anyOf" in schema:
            kinds = [self.expected(s) for s in schema["anyOf"] if s.get("type") != "null"]
            *others, last = dict.fromkeys(kinds)
            return f"{', '.join(others)} or {last}" if others else last
        if choices := choices_of(schema):
            return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        match schema.get("type"):
            case "boolean":
                words = "true or false"
            case "integer":
                words = f"a whole number{_bounds(schema)}"
            case "number":
                words = f"a number{_bounds(schema)}"
            case "string" if schema.get("minLength") == 1 and "maxLength" not in schema:
                words = "text that is not empty"
            case "string":
                words = f"text{_length(schema, 'character')}"
            case "array":
                words = self._list(schema)
            case "object":
                words = ", ".join(schema.get("properties", ()))
                words = f"a section with the keys {words}" if words else "a section"
            case _:
                words = "another value"
        return words

    def _list(self, schema: Schema) -> str:
        kinds = [self.expected(item) for item in schema.get("prefixItems", ()) or [schema.get("items", {})]]
        each = f", each {kinds[0]}" if len(set(kinds)) == 1 and kinds[0] != "another value" else ""
        return f"a list{_length(schema, 'value', 'Items')}{each}"


def _below(schema: Schema, part: str | int) -> Schema | None:
    found: object
    if isinstance(part, int):
        items = schema.get("prefixItems", ())
        found = items[part] if part < len(items) else schema.get("items")
    else:
        found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return found if isinstance(found, Mapping) else None


def choices_of(schema: Schema) -> list[str]:
    """The values that a field is restricted to, as text; empty where it is free."""
    return [str(choice) for choice in schema.get("enum", [schema["const"]] if "const" in schema else [])]


def _bounds(schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    if above is not None and schema["type"] == "integer":
        low, above = above + 1, None
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:.15g} to {high:.15g}"
    words = [
        f"{word} {bound:.15g}"
        for word, bound in (("above", above), ("of at least", low), ("below", below), ("of at most", high))
        if bound is not None
    ]
    return f" {' and '.join(words)}" if words else ""


def _length(schema: Schema, unit: str, suffix: str = "Length") -> str:
    low, high = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if low == high:
        return f" of {low} {unit}s" if low else ""
    least, most = f"at least {low}" if low else "", f"at most {high}" if high is not None else ""
    return f" of {' and '.join(filter(None, (least, most)))} {unit}s" if least or most else ""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where each value came from: `source` names the recipe, `keys` those that came from elsewhere."""

    source: str
    keys: Mapping[Keypath, str]

    def of(self, path: Keypath) -> str:
        """The origin of a value, of the value it is part of, or of the first value that is part of it."""
        for length in range(len(path), 0, -1):
            if (found := self.keys.get(path[:length])) is not None:
                return found
        return next((text for key, text in self.keys.items() if key[: len(path)] == path and path), self.source)


def complaint(model: type[BaseModel], error: ValidationError, origins: Origins) -> UsageError:
    """The first problem of a validation, with the number of the others."""
    keys = Keys(model)
    # A misspelt key explains the one that is missing, not the other way round.
    order = {"extra_forbidden": 0, "missing": 2}
    problems: dict[Keypath, str] = {}
    for finding in sorted(error.errors(include_url=False), key=lambda found: order.get(found["type"], 1)):
        path, sentence = _sentence(keys, finding, origins)
        problems.setdefault(path, sentence)
    first, *others = problems.values()
    more = f" (and {len(others)} more)" if others else ""
    return UsageError(first + more if first.endswith("?") else f"{first}{more}.")


def _sentence(keys: Keys, finding: Mapping[str, Any], origins: Origins) -> tuple[Keypath, str]:
    kind, path, value = finding["type"], tuple(finding["loc"]), finding["input"]
    if kind == "json_invalid":
        return (), f"{origins.source} is nested too deep, or not UTF-8: write one level of sections"
    if kind == "extra_forbidden":
        return path, _unknown(keys, path, value, origins)
    if kind == "missing" and isinstance(path[-1], str):
        expected = keys.expected(keys.at(path) or {})
        return path, f"{origins.of(path)}: the key '{dotted(path)}' is missing, expected is {expected}: add it"
    # Inside a union pydantic appends the name of the branch, which is no key; a short list lacks an index.
    while kind == "missing" or keys.at(path) is None:
        path, kind = path[:-1], ""
        value = finding["input"]
    where = f"{origins.of(path)}: {dotted(path)}" if path else origins.of(path)
    if finding["type"] in {"value_error", "assertion_error"}:
        found = "" if isinstance(value, Mapping) else f" is {shown(value)}"
        return path, f"{where}{found}: {str(finding['ctx']['error']).rstrip('.')}"
    schema = keys.at(path) or {}
    expected = keys.expected(schema)
    if isinstance(value, float) and not math.isfinite(value):
        expected = "a finite number" + ("" if "anyOf" in schema else expected.removeprefix("a number"))
    hint = _hint(schema, value, command_line=origins.of(path) != origins.source)
    return path, f"{where} is {shown(value)}, expected {expected}{hint}"


def _unknown(keys: Keys, path: Keypath, value: object, origins: Origins) -> str:
    # "limit.agreement" says more than "limit" does.
    while isinstance(value, Mapping) and len(value) == 1:
        ((name, value),) = value.items()
        path = (*path, name)
    parent, found, known = path[:-1], dotted(path), list(keys.leaves())
    beside = list((keys.at(parent) or {}).get("properties", ()))
    # Right, but in the wrong section; misspelt in its section; misspelt and in the wrong section.
    elsewhere = [key for key in known if key.rsplit(".", 1)[-1] == path[-1]]
    near = (
        difflib.get_close_matches(found, elsewhere, n=1, cutoff=0.85)
        # Of training and fine-tuning, which share most of their keys, the first.
        or elsewhere[:1]
        or [dotted((*parent, name)) for name in difflib.get_close_matches(str(path[-1]), beside, n=1)]
        or difflib.get_close_matches(found, known, n=1, cutoff=0.75 if len(path) == 1 else 0.85)
    )
    sentence = f"{origins.of(path)}: there is no key '{found}'"
    if near:
        return f"{sentence}: did you mean '{near[0]}'?"
    names = [dotted((*parent, name)) for name in beside] or (keys.at(()) or {}).get("properties", ())
    return f"{sentence}: known are {', '.join(names)}"


def _hint(schema: Schema, value: object, *, command_line: bool) -> str:
    if choices := choices_of(schema):
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f": did you mean '{near[0]}'?" if near else ""
    if isinstance(value, str):
        if schema.get("type") in {"number", "integer"}:
            return _number_hint(schema, value)
        if schema.get("type") == "boolean" and value.lower() in {"yes", "on", "true", "no", "off", "false"}:
            return f": write {'true' if value.lower() in {'yes', 'on', 'true'} else 'false'}"
    if schema.get("type") == "string" and isinstance(value, bool | int | float):
        return f": write '\"{shown(value)}\"'" if command_line else f': write "{shown(value)}"'
    return ""


def _number_hint(schema: Schema, value: str) -> str:
    share = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", value)
    if share and schema["type"] == "number":
        # A field that goes to 100 counts in points already.
        points = float(share[1])
        return f": write {points:.12g}" if schema.get("maximum") == 100 else f": write {points / 100:.12g}"
    if re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*", value):
        return f": write {value.strip()}, without quotes"
    return ""
