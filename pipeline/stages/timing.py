"""How long engines take: latency in blocks, peak memory and scenarios, in this process or each engine in its own."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from visiondeploy.benchmarks.environment import affinity, cores_to_pin
from visiondeploy.benchmarks.latency import LatencyResult, LatencySettings, measure
from visiondeploy.benchmarks.memory import peak_rss
from visiondeploy.benchmarks.report.measured import Scenario
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import VisionDeployError
from visiondeploy.pipeline.backends.table import backend_of
from visiondeploy.pipeline.stages.isolated import Worker, write_feeds
from visiondeploy.pipeline.stages.scenarios import KNOWN, asked, run_scenario
from visiondeploy.types import Array, Session, Timed

Report = Callable[[int, int, str], None]


class Engine(Protocol):
    """An engine's name, and where it lies."""

    @property
    def name(self) -> str:
        """By which what is found of it is known."""
        ...

    @property
    def backend(self) -> str:
        """The name of its backend."""
        ...

    @property
    def folder(self) -> Path:
        """Its files."""
        ...


@dataclass(slots=True)
class Timings:
    """What was found, by the engines' names. An engine is in `failed` or in `latency`; the first is the baseline."""

    latency: dict[str, LatencyResult] = field(default_factory=dict)
    memory: dict[str, int | VisionDeployError] = field(default_factory=dict)
    parts: dict[str, Mapping[str, float]] = field(default_factory=dict)
    scenarios: dict[str, tuple[Scenario, ...]] = field(default_factory=dict)
    failed: dict[str, VisionDeployError] = field(default_factory=dict)


def timed_here(
    sessions: Mapping[str, Session],
    engines: Sequence[Engine],
    feeds: Mapping[str, Array],
    settings: BenchSettings,
    threads: int,
    report: Report,
) -> Timings:
    """Time loaded sessions in this process. Raises what a session raises."""
    found = Timings()
    calls = {engine.name: partial(sessions[engine.name].infer, feeds) for engine in engines}
    found.latency = measure(calls, engines[0].name, settings.latency, progress=_blocks(report))
    found.parts = {name: dict(session.parts()) for name, session in sessions.items() if isinstance(session, Timed)}

    def run(engine: Engine, given: Mapping[str, Any]) -> object:
        return run_scenario(given, partial(backend_of(engine.backend).load, engine.folder), feeds, threads)

    _add_scenarios(found, engines, settings, run, report)
    return found


def timed_apart(
    engines: Sequence[Engine], feeds: Mapping[str, Array], settings: BenchSettings, threads: int, report: Report
) -> Timings:
    """Time each engine in a process of its own. Only one of them runs at any time; the others wait and take no core.

    An engine whose process ends is `failed`. Raises where the baseline's does.
    """
    found, baseline = Timings(), engines[0].name
    cores = cores_of(settings.latency, threads) if settings.latency.pin else ()
    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as scratch:
        file = write_feeds(feeds, Path(scratch))

        def worker(engine: Engine) -> Worker:
            return Worker(engine.backend, engine.folder, threads, file, cores)

        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for number, engine in enumerate(engines):
                report(number, len(engines), f"loading {engine.name} in a process of its own")
                try:
                    made = stack.enter_context(worker(engine))
                    made.load()
                except VisionDeployError as error:
                    if engine.name == baseline:
                        raise
                    found.failed[engine.name] = error
                else:
                    workers[engine.name] = made
            found.latency = measure(
                workers,
                baseline,
                settings.latency,
                progress=_blocks(report),
                on_failure=found.failed.__setitem__,
            )
            for name in found.latency:
                # One that dies only now has its times; its memory is measured later (`add_memory`).
                with suppress(VisionDeployError):
                    found.parts[name] = workers[name].parts()
                    peak = workers[name].peak()
                    if peak is not None:
                        found.memory[name] = peak

        def run(engine: Engine, given: Mapping[str, Any]) -> object:
            if given["name"] in KNOWN:
                return run_scenario(given, partial(backend_of(engine.backend).load, engine.folder), feeds, threads)
            with worker(engine) as fresh:
                return fresh.scenario(given)

        _add_scenarios(found, engines, settings, run, report)
    return found


def add_memory(
    found: Timings,
    engines: Sequence[Engine],
    feeds: Mapping[str, Array],
    settings: BenchSettings,
    threads: int,
    report: Report,
) -> None:
    """Measure the memory of those engines of which it is not known, each alone in a process of its own."""
    missing = [engine for engine in engines if engine.name in found.latency and engine.name not in found.memory]
    for number, engine in enumerate(missing):
        report(number, len(missing), f"memory of {engine.name}")
        try:
            found.memory[engine.name] = peak_rss(
                memory_command(engine, threads, feeds), timeout=settings.memory_timeout
            )
        except VisionDeployError as error:
            # What was measured before took minutes and stands.
            found.memory[engine.name] = error


def cores_of(settings: LatencySettings, threads: int) -> tuple[int, ...]:
    """The logical cores that engines with so many threads run on: those that they are bound to, or all there are."""
    return cores_to_pin(threads) if settings.pin else affinity()


def memory_command(engine: Engine, threads: int, feeds: Mapping[str, Array]) -> list[str]:
    """A command that loads one engine in a process of its own and runs it on feeds of the same shapes."""
    shapes = json.dumps({name: (str(feed.dtype), feed.shape) for name, feed in feeds.items()})
    module = "visiondeploy.pipeline.stages.run_alone"
    # -P: the current folder is the user's, and a json.py in it must not become ours.
    return [sys.executable, "-P", "-m", module, engine.backend, str(engine.folder), str(threads), shapes]


def _blocks(report: Report) -> Callable[[int, int], None]:
    return lambda done, total: report(done, total, "blocks: latency, baseline and engines in turns")


def _add_scenarios(
    found: Timings,
    engines: Sequence[Engine],
    settings: BenchSettings,
    run: Callable[[Engine, Mapping[str, Any]], object],
    report: Report,
) -> None:
    """Measure the scenarios of each engine. One that fails says why, and the others go on."""
    kept, names = [engine for engine in engines if engine.name in found.latency], settings.scenarios.names
    for number, (engine, name) in enumerate(product(kept, names)):
        report(number, len(kept) * len(names), f"scenario {name} of {engine.name}")
        given = asked(name, settings.scenarios, found.latency[engine.name].as_latency())
        try:
            scenario = Scenario.model_validate(run(engine, given))
        except VisionDeployError as error:
            scenario = Scenario(name=name, loads=(), reason=str(error))
        found.scenarios[engine.name] = (*found.scenarios.get(engine.name, ()), scenario)
