"""Templates, in which everything is escaped that does not say otherwise."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def filled(template: str, **values: object) -> Markup:
    """A template of `templates/` with its values."""
    # Safe: what is not marked as safe was escaped.
    return Markup(_environment().get_template(f"{template}.html").render(**values))
