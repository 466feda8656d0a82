"""Settings of a measurement. Imports no runtime."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.types import Settings


class BenchSettings(Settings):
    """`images` bounds the samples that quality is measured on (None for the whole split)."""

    images: Annotated[int, Field(ge=1)] | None = None
    pictures: Annotated[int, Field(ge=0)] = 4
    memory_timeout: Annotated[float, Field(gt=0)] = 300.0
    latency: LatencySettings = LatencySettings()
    scenarios: ScenarioSettings = ScenarioSettings()
