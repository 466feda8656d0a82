"""What was measured of one engine over time: latency, speed-up, scenarios, layers; and how noisy the machine was.

Parts of the report contract (`schema.py`): fields may be added with a default, never renamed or given another meaning.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from visiondeploy.benchmarks.report.parts import Interval, Part, Positive, Share, Text


class Likeness(Part):
    """How alike the outputs are to the baseline's own, on average over `n` samples, with the interval of that."""

    value: float
    ci95: Interval | None
    n: Annotated[int, Field(ge=1)]


class Latency(Part):
    """Milliseconds of one inference. A percentile is null where too few runs support it.

    `raw` holds every timed run in order, `blocks` the median of each block (blocks of equal length);
    `warmups` counts the runs that were not timed, `settled` is False where the time for them ran out before runs were
    steady. `stopped` says why no further block was run: "precise", "budget" or "max-blocks". `isolated` is whether the
    engine had a process of its own.
    """

    p50: Positive | None
    p90: Positive | None
    p99: Positive | None
    n: NonNegativeInt
    raw: tuple[float, ...] = ()
    warmups: NonNegativeInt = 0
    settled: bool = True
    blocks: tuple[float, ...] = ()
    stopped: str | None = None
    isolated: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [value for value in (self.p50, self.p90, self.p99) if value is not None]
        if known != sorted(known):
            raise ValueError(f"percentiles rise, found p50, p90, p99 = {self.p50}, {self.p90}, {self.p99}")
        if self.raw and len(self.raw) != self.n:
            raise ValueError(f"n counts the raw values, found n = {self.n} and {len(self.raw)} values")
        return self


class Activity(Part):
    """What else the machine did while it was measured. None where the system does not tell.

    `others` is the CPU time of other processes and `stolen` what other virtual machines took, both in cores' worth;
    `waiting` the share of the time in which some task that could run waited for a core (pressure stall information of
    Linux, "some"); `load` the load average over a minute before and after.
    """

    seconds: NonNegativeFloat
    others: NonNegativeFloat | None = None
    stolen: NonNegativeFloat | None = None
    waiting: NonNegativeFloat | None = None
    load: tuple[float, float] | None = None


class _Ratio(Part):
    """A ratio with its 95 % interval, from paired blocks."""

    value: Positive
    ci95: Interval
    blocks: NonNegativeInt = 0

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not self.ci95[0] - 1e-9 <= self.value <= self.ci95[1] + 1e-9:
            raise ValueError(f"speed-up {self.value} lies outside its own interval {list(self.ci95)}")
        return self


class Speedup(_Ratio):
    """Latency of the baseline over that of the row, from paired blocks: above 1 the row is faster."""


class Noise(_Ratio):
    """The baseline over itself, from blocks of the same run (A/A): what the machine does to two that are equal.

    The truth is 1. `spread` is the standard deviation of the logarithms of the blocks' ratios: a block of this run is
    as far off as that. `ratios` has the ratio of each block.
    """

    spread: NonNegativeFloat = 0.0
    ratios: tuple[Positive, ...] = ()


class Load(Part):
    """One setting of a scenario, and what was found at it.

    `batch` images go in at once, `streams` callers run at the same time, `rate` queries arrive in a second (server).
    `per_second` is how many images were finished in one; `latency_ms` is from the arrival of a query to its answer.
    `held` is None where there is no bound on latency, else whether it was held.
    """

    batch: Annotated[int, Field(ge=1)] = 1
    streams: Annotated[int, Field(ge=1)] = 1
    rate: Positive | None = None
    per_second: Positive | None = None
    ci95: Interval | None = None
    latency_ms: Latency | None = None
    held: bool | None = None
    reason: Text | None = None
    """Why it was not measured, where it was not."""


class Scenario(Part):
    """One way in which queries come, after MLPerf Inference (Reddi et al. 2020, arXiv:1911.02549), and what was found.

    `best` is the number of the load that answers the scenario's question: the highest throughput, or the highest rate
    whose bound is held; None where there is none. `bound_ms` is the bound of the server scenario, at `quantile`.
    """

    name: Literal["single-stream", "multi-stream", "offline", "server"]
    loads: tuple[Load, ...]
    best: NonNegativeInt | None = None
    bound_ms: Positive | None = None
    quantile: Share | None = None
    stopped: str | None = None
    reason: Text | None = None
    """Why nothing of it was measured, where nothing was."""

    @model_validator(mode="after")
    def _best_is_there(self) -> Self:
        if self.best is not None and self.best >= len(self.loads):
            raise ValueError(f"best is one of {len(self.loads)} loads, found {self.best}")
        return self


class LayerShare(Part):
    """One layer as the runtime's own profiler has it: milliseconds of one inference, and its share of all layers."""

    name: str
    kind: str
    compute: str
    milliseconds: NonNegativeFloat
    share: Share

    @classmethod
    def of(cls, layers: list[tuple[str, str, str, float]]) -> tuple[Self, ...]:
        """Shares of (name, kind, compute, milliseconds), in their order."""
        total = math.fsum(milliseconds for *_, milliseconds in layers) or 1.0
        return tuple(
            cls(name=name, kind=kind, compute=compute, milliseconds=ms, share=min(1.0, ms / total))
            for name, kind, compute, ms in layers
        )
