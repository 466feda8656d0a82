"""Scenario `single-stream`: one query after the other, each as soon as the last is answered."""

from __future__ import annotations

from visiondeploy.benchmarks.report.measured import Load, Scenario
from visiondeploy.benchmarks.scenarios.base import System
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings


def single_stream(system: System, settings: ScenarioSettings) -> Scenario:
    """What the blocks against the baseline found already (`latency.measure`), without its raw values."""
    found = system.single
    rate = 1000 * found.n / sum(found.raw) if found.raw else 1000 / found.p50 if found.p50 else None
    # The raw values stand in the row.
    load = Load(per_second=rate, latency_ms=found.model_copy(update={"raw": (), "blocks": ()}))
    return Scenario(name="single-stream", loads=(load,), best=0, stopped=found.stopped)
