"""From a pydantic error to one sentence for a person."""

from __future__ import annotations

import difflib

from pydantic import ValidationError

from visiondeploy.types import Settings


def first_problem(error: ValidationError, kind: type[Settings]) -> str:
    """The first problem with the values given for `kind`: its key, what was found, what was expected.

    >>> class Options(Settings):
    ...     seed: int = 0
    >>> try:
    ...     Options.model_validate({"sed": 1})
    ... except ValidationError as error:
    ...     first_problem(error, Options)
    "unknown key 'sed': did you mean 'seed'? Known: seed."
    """
    # Unknown keys first: a mistyped key is also a missing one, and only the former says what to do.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"])
    known = list(kind.model_fields)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown key {key!r}: {hint}Known: {', '.join(known) or 'none'}."
    if problem["type"] == "missing":
        return f"no key '{key}', which is needed."
    reason = problem["msg"].removeprefix("Value error, ")
    if not key:
        return f"{reason}."
    try:
        shown = repr(problem["input"])
    except (ValueError, RecursionError):
        shown = "a value that is too long or nested too deep to show"
    return f"{key} = {shown if len(shown) <= 80 else shown[:79] + '…'}: {reason[:1].lower()}{reason[1:]}."
