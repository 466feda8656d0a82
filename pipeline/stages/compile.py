"""Stage `compile`: an artifact to an engine of one backend, with the types that its layers really have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity, served_parity
from visiondeploy.types import Agreement, Task

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
    found = None
    if backend is not reference:
        with reference.load(source, threads) as before, backend.load(folder, threads) as after:
            found = parity(before, after, task, samples)
    return _found(backend, folder, threads, samples, found)


def compile_served(
    backend: Backend,
    bare: Path,
    source: Path,
    task: Task,
    samples: Feeds,
    raw: Feeds,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """As `compile_engine`, for a graph that takes raw images. `bare` is this backend's engine of the network in it.

    Of class maps there is no SQNR, and a share of pixels passes a fault that values show. The values are compared
    when `bare` is compiled; the classes here are compared with its, which are of the same arithmetic, so that they
    have to agree where another runtime's need not: with random weights, or where two classes are nearly as likely.
    """
    backend.compile(source, folder)
    with backend.load(bare, threads) as before, backend.load(folder, threads) as after:
        found = served_parity(before, after, task, samples, raw)
    return _found(backend, folder, threads, raw, found)


def _found(backend: Backend, folder: Path, threads: int, feeds: Feeds, parity: Agreement | None) -> dict[str, Any]:
    realised = backend.realised(folder, threads, feeds[0])
    return {
        "parity": {} if parity is None else {backend.name: as_row(parity)},
        "layers": [asdict(layer) for layer in realised.layers],
        "stored": realised.stored,
    }
