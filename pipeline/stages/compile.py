"""Stage `compile`: an artifact to an engine of one backend, with the types that its layers really have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Task

# 2: no parity of a backend with itself
# 3: parity and layers are those of OpenVINO compiled for the shapes that it is fed
VERSION = 3
TOOLS = ("onnx", "pillow")


def compile_engine(
    backend: Backend,
    reference: Backend,
    source: Path,
    task: Task,
    samples: Feeds,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Write the engine; return its parity with `source` as `reference` runs it, and the layers as realised.

    The reference runs the very same artifact, so what differs is this runtime's own arithmetic: a fault
    in it shows here even where the metric does not. A backend is not compared with itself.
    """
    backend.compile(source, folder)
    found = {}
    if backend is not reference:
        with reference.load(source, threads) as before, backend.load(folder, threads) as after:
            found[backend.name] = as_row(parity(before, after, task, samples))
    realised = backend.realised(folder, threads, samples[0])
    return {
        "parity": found,
        "layers": [asdict(layer) for layer in realised.layers],
        "stored": realised.stored,
    }
