"""Stage `compile`: an artifact to an engine of one backend, with the types that its layers really have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Session, Task

# 2: no parity of a backend with itself
# 3: layers have the type that their graph asks for; no parity where an engine cannot run
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
    settings: EngineSettings = PLAIN,
) -> dict[str, Any]:
    """Write the engine; return its parity with `source` as `reference` runs it, and the layers as realised.

    The reference runs the very same artifact, so what differs is this runtime's own arithmetic: a fault
    in it shows here even where the metric does not. A backend is not compared with itself, and an engine that
    cannot run here with nothing.
    """
    backend.compile(source, folder, settings)
    found = {}
    if backend is not reference and (session := _loaded(backend, folder, threads)) is not None:
        with session as after, reference.load(source, threads) as before:
            found[backend.name] = as_row(parity(before, after, task, samples))
    realised = backend.realised(folder, threads, samples[0])
    return {
        "parity": found,
        "layers": [asdict(layer) for layer in realised.layers],
        "stored": realised.stored,
    }


def _loaded(backend: Backend, folder: Path, threads: int) -> Session | None:
    """The engine, loaded; None where it is for another machine than this, which its row in the report says."""
    try:
        return backend.load(folder, threads)
    except EnvironmentMismatch:
        return None
