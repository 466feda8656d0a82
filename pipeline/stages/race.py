"""Stage `race`: how fast the engine of a changed network is against that of the network as it was, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.latency import LatencySettings, measure
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.types import Array

# 1: paired blocks
VERSION = 1
TOOLS = ("numpy", "scipy")


def race(
    backend: Backend,
    dense: Path,
    changed: Path,
    feeds: Mapping[str, Array],
    settings: LatencySettings,
    threads: int,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Time two engines of one backend in shuffled blocks: `share` is the time of the changed one over the dense one's.

    `share_ci95` is its 95 % interval; `dense_ms` and `changed_ms` are medians. Raises what the backend raises.
    """
    with backend.load(dense, threads) as before, backend.load(changed, threads) as after:
        found = measure(
            {"dense": partial(before.infer, feeds), "changed": partial(after.infer, feeds)},
            "dense",
            settings,
            progress=lambda done, total: report(done, total, "blocks: against the uncompressed network, in turns"),
        )
    speedup = found["changed"].speedup
    return {
        "share": 1 / speedup.value,
        "share_ci95": [1 / speedup.ci95[1], 1 / speedup.ci95[0]],
        "dense_ms": found["dense"].percentiles.p50,
        "changed_ms": found["changed"].percentiles.p50,
    }
