"""Stage `choose`: of several Q/DQ graphs of one network the one whose engine is faster on this machine.

Where pairs stand around a skip is a matter of speed that no rule settles for all GPUs and shapes (Model-Optimizer#174,
TensorRT#4366). The first candidate is the rule's, and stays where no other is faster beyond noise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.latency import LatencySettings, measure
from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.engine import EngineSettings
from visiondeploy.types import Array

# 1: paired blocks; another than the rule's where its whole interval is above 1
VERSION = 1
TOOLS = ("numpy", "scipy")


def choose(
    backend: Backend,
    candidates: Mapping[str, Path],
    feeds: Mapping[str, Array],
    settings: LatencySettings,
    engine: EngineSettings,
    threads: int,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Compile each candidate and time them in turns; the name of the faster, and how fast each was.

    `candidates` are folders with a graph, by name, the rule's first, which it is where the engines are for another
    machine. Raises what the backend raises otherwise.
    """
    rule = next(iter(candidates))
    with ExitStack() as stack:
        # The stage `compile` makes the one that is kept, with its parity.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visiondeploy-")))
        sessions = {}
        for name, source in candidates.items():
            folder = scratch / name
            folder.mkdir()
            backend.compile(source, folder, engine)
            try:
                sessions[name] = stack.enter_context(backend.load(folder, threads))
            except EnvironmentMismatch:
                return {"chosen": rule, "speedup": {}}
        found = measure(
            {name: partial(session.infer, feeds) for name, session in sessions.items()},
            rule,
            settings.model_copy(update={"noise": False}),  # the candidates are compared, and no baseline judged
            progress=lambda done, total: report(done, total, "blocks: where pairs stand around skips, in turns"),
        )
    ratios = {name: result.as_speedup() for name, result in found.items() if name != rule}
    faster = [name for name, ratio in ratios.items() if ratio.ci95[0] > 1]
    return {
        "chosen": max(faster, key=lambda name: ratios[name].value, default=rule),
        "speedup": {name: ratio.model_dump(mode="json") for name, ratio in ratios.items()},
    }
