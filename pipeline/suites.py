"""Suites by name or from a file, read once into frozen settings, with a sentence for what is wrong in them."""

from __future__ import annotations

import importlib.resources
import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from visiondeploy.benchmarks.suite import SCHEMA, Suite
from visiondeploy.errors import InputError, UsageError, unknown_name
from visiondeploy.models.reading import parse_toml, read_toml
from visiondeploy.pipeline.complaints import Origins, complaint


def available_suites() -> tuple[str, ...]:
    """The names of the packaged suites, sorted."""
    files = (Path(entry.name) for entry in _packaged().iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))


def load_suite(source: str) -> Suite:
    """A packaged suite by its name, or one from a file: text with a "/" or that ends in ".toml".

    Raises `InputError` where the file cannot be read or is not TOML in UTF-8, `UsageError` for an unknown name,
    unknown keys and wrong values.
    """
    if "/" in source or source.endswith(".toml"):
        data, _ = read_toml(Path(source), "a suite in TOML")
        return parse_suite(data, source)
    if source not in available_suites():
        raise unknown_name("suite", source, available_suites())
    origin = f"suite '{source}'"
    return parse_suite(parse_toml((_packaged() / f"{source}.toml").read_text(encoding="utf-8"), origin), origin)


def parse_suite(data: dict[str, Any], origin: str) -> Suite:
    """A suite from the content of a TOML file; `origin` names it in errors. Raises as `load_suite`."""
    found = data.get("schema")
    if isinstance(found, str) and found != SCHEMA:
        raise InputError(
            f"{origin} has the schema {found[:60]!r}, expected {SCHEMA!r}: write it for this visiondeploy."
        )
    try:
        # As JSON, as strict JSON takes a list for a tuple, but no "5" for 5.
        return Suite.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise complaint(Suite, error, Origins(origin, {})) from None
    except ValueError:
        raise UsageError(f"{origin}: a number has thousands of digits.") from None


def _packaged() -> Traversable:
    return importlib.resources.files("visiondeploy.benchmarks") / "suites"
