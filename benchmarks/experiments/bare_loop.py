"""The barest loop around a runtime, in a process of its own: `python -m … BACKEND FOLDER THREADS FEEDS`.

It answers as a worker of `deploy bench` does, and shares none of its code: the runtime's own call with everything bound
beforehand, and two readings of the clock around it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from visiondeploy.benchmarks.experiments.overhead import BARE
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.types import Array


def bare_pytorch(folder: Path, feeds: dict[str, Array], threads: int) -> Callable[[], object]:
    """The module called on a tensor."""
    import torch

    from visiondeploy.models.checkpoint import load_network

    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()
    module = load_network(folder).module.eval()
    (tensor,) = map(torch.from_numpy, feeds.values())
    return lambda: module(tensor)


def bare(backend: str, folder: Path, feeds: dict[str, Array], threads: int) -> Callable[[], object]:
    """The call of a backend's runtime."""
    if backend == "pytorch":
        return bare_pytorch(folder, feeds, threads)
    with BACKENDS[backend].load(folder, threads) as session:
        results = {name: found.copy() for name, found in session.infer(feeds).items()}
    return BARE[backend](folder, feeds, results, threads)


def main(backend: str, folder: str, threads: str, feeds_file: str) -> None:
    """Run as often as each line of standard input says."""
    from safetensors.numpy import load_file

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    call = bare(backend, Path(folder), load_file(feeds_file), int(threads))
    while line := sys.stdin.buffer.readline():
        count = json.loads(line).get("run")
        times = array("q", [0]) * (count or 0)
        for number in range(count or 0):
            start = time.perf_counter_ns()
            call()
            times[number] = time.perf_counter_ns() - start
        answers.write(b'{"found": null}\n' if count is None else b'{"bytes": %d}\n' % (8 * count) + times.tobytes())
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:5])
