"""Settings of the scenarios. Imports no runtime."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.types import Seed, Settings

Name = Literal["single-stream", "multi-stream", "offline", "server"]
Counts = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1)]


class ScenarioSettings(Settings):
    """Which scenarios are measured, and how long each of an engine may take, in seconds."""

    names: tuple[Name, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 20.0
    streams: Counts = (1, 2, 4)
    """multi-stream: how many callers at once."""
    batches: Counts = (1, 2, 4, 8)
    """offline: how many images at once."""
    bound_ms: Annotated[float, Field(gt=0)] | None = None
    """server: what the latency of a query must not pass; None for `bound_factor` times a single stream's median."""
    bound_factor: Annotated[float, Field(gt=1)] = 3.0
    queries: Annotated[int, Field(ge=5)] = 1_000
    """server: for one rate, at most."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """server: the rate is known well enough once it is, by this share of what the engine can do at most."""
    seed: Seed = 0

    def warming(self, seconds: float) -> LatencySettings:
        """How to warm up for a load that is measured for so many seconds."""
        return LatencySettings(warmup_seconds=max(seconds / 2, 1e-3), block_seconds=max(min(seconds / 10, 0.5), 1e-3))
