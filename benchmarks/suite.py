"""A suite: how engines are measured, and the limits that they have to hold. `pipeline/suites.py` reads it from TOML.

    schema = "visiondeploy.suite/1"
    name = "streets"

    [measure]
    threads = 2

    [[limits]]
    precision = "int8"        # of the rows that this is for; also rows, model, backend: patterns as of a shell
    quantity = "miou"
    max_drop = 0.5            # points below the baseline of the same run

A limit has one bound. `min` and `max` are of the value itself. The others compare: with the `baseline` of the same run,
with a stored `reference`, or with the engine of the `base` commit that was measured in the same run.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from visiondeploy.benchmarks.report.schema import Row
from visiondeploy.types import Settings

# History
#   1  2026-12  first version
SCHEMA: Literal["visiondeploy.suite/1"] = "visiondeploy.suite/1"

Bound = Literal["min", "max", "max_drop", "max_rise", "max_ratio", "max_slowdown"]
Against = Literal["baseline", "reference", "base"]
Text = Annotated[str, Field(min_length=1, max_length=200)]

BOUNDS: tuple[Bound, ...] = get_args(Bound)

_VALUES = frozenset({("min", None), ("max", None)})
_CHANGES = frozenset((bound, against) for bound in ("max_drop", "max_rise") for against in get_args(Against))
_TIMES = frozenset({("max", None), ("max_ratio", "baseline"), ("max_slowdown", "base")})
_SIZES = frozenset({("max", None), ("max_ratio", "baseline"), ("max_rise", "reference"), ("max_rise", "base")})

QUANTITIES: dict[str, frozenset[tuple[str, str | None]]] = {
    "worst-class": frozenset({("min", None), *(("max_drop", against) for against in get_args(Against))}),
    "speedup": frozenset({("min", None), ("max_slowdown", "reference"), ("max_slowdown", "base")}),
    "p50": _TIMES,
    "p90": _TIMES,
    "p99": _TIMES,
    "size": _SIZES,
    "memory": _SIZES,
    "agreement": frozenset({("min", None)}),
    "sqnr": frozenset({("min", None)}),
    "off-precision": frozenset({("max", None)}),
}
"""What can be limited besides metrics, with the bounds that make sense of it and what those compare with."""

_METRIC = _VALUES | _CHANGES

TIMED = frozenset({"speedup", "p50", "p90", "p99"})
"""Quantities that are times, or made of them."""


class MeasureSettings(Settings):
    """How `deploy bench` measures for the suite; what is not given the build's recipe says.

    `images` bounds the images that quality is measured on, `seconds` is the time for latency. A report of other
    `threads`, or of fewer images, is not what the suite is about. `machine` is the fingerprint of the one machine that
    absolute times are for, or its first digits.
    """

    images: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    machine: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = None


class Limit(Settings):
    """One bound on one quantity of the rows whose name, model, backend and precision match the patterns.

    `quantity` is one of `QUANTITIES`, or the name of a metric ("miou", "style_loss") or of a measure of likeness
    ("ssim"). `metric` says of which metric "worst-class" is, the first of the task if it does not.

    `max_drop` is in points (of 100), `max_rise` and `max_slowdown` in percent, `max_ratio` is the row's value over that
    of the baseline; `max` of p50, p90 and p99 is in milliseconds, of size and memory in bytes, `min` of sqnr in
    decibels, of agreement a share of pixels.
    """

    quantity: Text
    metric: Text | None = None
    rows: Text = "*"
    model: Text = "*"
    backend: Text = "*"
    precision: Text = "*"
    against: Against | None = None
    min: float | None = None
    max: float | None = None
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    max_rise: Annotated[float, Field(ge=0)] | None = None
    max_ratio: Annotated[float, Field(gt=0)] | None = None
    max_slowdown: Annotated[float, Field(ge=0)] | None = None

    @property
    def bound(self) -> Bound:
        """Which bound it has."""
        return next(bound for bound in BOUNDS if getattr(self, bound) is not None)

    @property
    def value(self) -> float:
        """The bound's value."""
        found: float = getattr(self, self.bound)
        return found

    @property
    def compared_with(self) -> Against | None:
        """What the bound compares with; None for a bound of the value itself."""
        if self.bound in {"min", "max"}:
            return None
        return self.against or ("base" if self.bound == "max_slowdown" else "baseline")

    @property
    def selector(self) -> str:
        """The patterns that are not "*", as they are written in the suite."""
        given = {name: getattr(self, name) for name in ("rows", "model", "backend", "precision")}
        return ", ".join(f'{name} = "{pattern}"' for name, pattern in given.items() if pattern != "*")

    def matches(self, row: Row) -> bool:
        """Whether a row is meant."""
        pairs = (
            (row.name, self.rows),
            (row.model, self.model),
            (row.backend, self.backend),
            (row.precision.value, self.precision),
        )
        return all(fnmatchcase(found, pattern) for found, pattern in pairs)

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [bound for bound in BOUNDS if getattr(self, bound) is not None]
        if len(given) != 1:
            found = "none" if not given else " and ".join(given)
            raise ValueError(f"a limit has one bound of {', '.join(BOUNDS)}, found {found}")
        if given[0] in {"min", "max"} and self.against is not None:
            raise ValueError(f"{given[0]} is of the value itself and compares with nothing: leave against away")
        if self.metric is not None and self.quantity != "worst-class":
            raise ValueError(f"metric is for the quantity worst-class, found {self.quantity!r}: leave it away")
        allowed = QUANTITIES.get(self.quantity, _METRIC)
        if (self.bound, self.compared_with) not in allowed:
            known = ", ".join(sorted(bound + (f" against {against}" if against else "") for bound, against in allowed))
            with_what = f" against {self.compared_with}" if self.compared_with else ""
            raise ValueError(f"{self.quantity} is not limited by {self.bound}{with_what}, but by {known}")
        return self


class Suite(Settings):
    """Limits, and how to measure for them. With `allow_inconclusive` what is not decided does not fail."""

    schema_name: Literal["visiondeploy.suite/1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    about: str = ""
    allow_inconclusive: bool = False
    measure: MeasureSettings = MeasureSettings()
    limits: Annotated[tuple[Limit, ...], Field(min_length=1)]

    @property
    def timed(self) -> bool:
        """Whether it limits a time."""
        return any(limit.quantity in TIMED for limit in self.limits)

    def needs(self, against: Against) -> bool:
        """Whether a limit compares with that."""
        return any(limit.compared_with == against for limit in self.limits)
