"""What the parts of a report have in common: frozen models, the types of their numbers, and how text becomes one."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from visiondeploy.types import Precision


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval runs from low to high, found {list(interval)}")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A part of a report. Fields that it does not know are ignored, so that a later writer's files still read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class OnnxFile(Part):
    """An ONNX file of somebody else, that engines were made from; `precision` is the one that it had."""

    name: Text
    sha256: Text
    precision: Precision


def parse(text: str | bytes) -> Any:
    """JSON without NaN and infinity. Raises `ValueError`, and `RecursionError` where it is nested too deep."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def first_problem(error: ValidationError) -> str:
    """Where a report breaks its contract first, how, and in how many places more."""
    problems = error.errors(include_url=False, include_input=False)
    where = ".".join(str(part) for part in problems[0]["loc"])
    message = problems[0]["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"
