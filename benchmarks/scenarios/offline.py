"""Scenario `offline`: all images are there, and go in in batches. How many are done in a second?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from visiondeploy.benchmarks.latency import Calls, warm_up
from visiondeploy.benchmarks.report.measured import Load, Scenario
from visiondeploy.benchmarks.scenarios.base import System, highest, latency_of, rate_of
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.errors import VisionDeployError
from visiondeploy.types import Array, Session

BLOCKS = 10
FEWEST_BLOCKS = 3


def offline(system: System, settings: ScenarioSettings) -> Scenario:
    """Images in a second for each size of batch, with an interval from blocks; `best` has the most."""
    seconds = settings.seconds / len(settings.batches)
    loads = tuple(_load(system, batch, seconds, settings) for batch in settings.batches)
    return Scenario(name="offline", loads=loads, best=highest([load.per_second for load in loads]), stopped="budget")


def _load(system: System, batch: int, seconds: float, settings: ScenarioSettings) -> Load:
    try:
        # A session of its own: OpenVINO's are compiled for few shapes.
        with system.open(system.threads) as session:
            fixed = fixed_batch(session)
            if fixed not in (None, batch):
                return Load(batch=batch, reason=f"the engine takes batches of {fixed}")
            feeds = batched(session, system.feeds, batch)
            calls = Calls(partial(session.infer, feeds), system.clock)
            runs, _ = warm_up(calls, settings.warming(seconds))
            rates, durations = _blocks(system, calls, batch, float(np.median(runs[-3:])), seconds)
    except VisionDeployError as error:
        return Load(batch=batch, reason=str(error))
    rate, ci95 = rate_of(rates)
    return Load(batch=batch, per_second=rate, ci95=ci95, latency_ms=latency_of(durations))


def _blocks(
    system: System, calls: Calls, batch: int, expected_ns: float, seconds: float
) -> tuple[list[float], list[int]]:
    """Images in a second in each block, and nanoseconds of each call."""
    count = max(1, round(seconds * 1e9 / BLOCKS / max(expected_ns, 1.0)))
    end = system.clock() + round(seconds * 1e9)
    rates: list[float] = []
    durations: list[int] = []
    while len(rates) < FEWEST_BLOCKS or system.clock() < end:
        began = system.clock()
        durations += calls.run(count)
        # With the time in which results are freed, as who works through a folder has that too.
        rates.append(count * batch * 1e9 / max(system.clock() - began, 1))
    return rates, durations


def fixed_batch(session: Session) -> int | None:
    """The only size of batch that a session takes; None where it is free."""
    sizes = [spec.shape[0] for spec in session.inputs if spec.shape]
    return None if any(isinstance(size, str) for size in sizes) else next(iter(int(size) for size in sizes), 1)


def batched(session: Session, feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """The feeds of one image, so many times, for those inputs whose batch is free."""
    free = {spec.name for spec in session.inputs if spec.shape and isinstance(spec.shape[0], str)}
    return {name: np.concatenate([feed] * batch) if name in free else feed for name, feed in feeds.items()}
