"""A scenario of one engine, told and answered in JSON, so that a process of its own can measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from visiondeploy.benchmarks.report.measured import Latency
from visiondeploy.benchmarks.scenarios.base import System
from visiondeploy.benchmarks.scenarios.settings import Name, ScenarioSettings
from visiondeploy.benchmarks.scenarios.table import SCENARIOS
from visiondeploy.types import Array, Session

KNOWN: frozenset[Name] = frozenset({"single-stream"})
"""Scenarios that the latency in blocks answers already, so that no engine is loaded for them."""


def asked(name: Name, settings: ScenarioSettings, single: Latency) -> dict[str, Any]:
    """What `run_scenario` is told."""
    said = {"settings": settings.model_dump(mode="json"), "single": single.model_dump(mode="json")}
    return {"name": name, **said}


def run_scenario(
    given: Mapping[str, Any], load: Callable[[int], Session], feeds: Mapping[str, Array], threads: int
) -> dict[str, Any]:
    """The scenario as JSON. `load` opens a session with so many threads; `feeds` are of one image."""
    system = System(load, feeds, threads, Latency.model_validate(given["single"]))
    settings = ScenarioSettings.model_validate(given["settings"])
    return SCENARIOS[given["name"]](system, settings).model_dump(mode="json")
