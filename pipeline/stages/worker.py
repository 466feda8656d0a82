"""One engine in a process of its own, run when it is told: `python -m … BACKEND FOLDER THREADS FEEDS CORES`.

Started by `isolated.Worker`. Runtimes in one process share an allocator, OpenMP pools and what the first of them set of
the thread's arithmetic; in processes of their own they cannot. Commands come as lines of JSON on standard input,
answers go as lines of JSON to what was standard output, which whatever a runtime prints does not reach. Between two
commands the process waits in a read: it takes no core. Each run is timed here, so that no pipe is in any time.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO


def main(backend: str, folder: str, threads: str, feeds: str, cores: str) -> None:
    """Do what is said until standard input ends. `feeds` is a safetensors file.

    `cores` are numbers of logical cores to be bound to, with commas between, or "".
    """
    if cores:
        # Before any runtime is imported, whose threads inherit it.
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    from visiondeploy.errors import VisionDeployError

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _serve(answers, backend, Path(folder), int(threads), Path(feeds))
    except VisionDeployError as error:
        _answer(answers, {"error": type(error).__name__, "message": str(error)})


def _serve(answers: BinaryIO, backend: str, folder: Path, threads: int, feeds_file: Path) -> None:
    from safetensors.numpy import load_file

    engine = _Engine(backend, folder, threads, load_file(feeds_file))
    while line := sys.stdin.buffer.readline():
        ((command, given),) = json.loads(line).items()
        found = engine.does(command)(given)
        if isinstance(found, bytes):
            _answer(answers, {"bytes": len(found)}, found)
        else:
            _answer(answers, {"found": found})


class _Engine:
    """The engine and what it is told."""

    def __init__(self, backend: str, folder: Path, threads: int, feeds: Mapping[str, Any]) -> None:
        from visiondeploy.pipeline.backends.table import backend_of

        self._load = partial(backend_of(backend).load, folder)
        self._threads, self._feeds = threads, feeds
        self._session: Any = None

    def does(self, command: str) -> Callable[[Any], Any]:
        """What a command calls."""
        known: dict[str, Callable[[Any], Any]] = {
            "load": self._open,
            "run": self._run,
            "parts": self._parts,
            "peak": lambda _: peak_of_this_process(),
            "scenario": self._scenario,
        }
        return known[command]

    def _open(self, _: object) -> None:
        self._session = self._load(self._threads).__enter__()
        gc.collect()
        gc.freeze()  # what is there now stays, and need not be looked through before each block
        gc.disable()

    def _run(self, count: int) -> bytes:
        from visiondeploy.benchmarks.latency import Calls

        gc.collect()
        return array("q", Calls(partial(self._session.infer, self._feeds)).run(count)).tobytes()

    def _parts(self, _: object) -> dict[str, float]:
        from visiondeploy.types import Timed

        return dict(self._session.parts()) if isinstance(self._session, Timed) else {}

    def _scenario(self, given: Mapping[str, Any]) -> dict[str, Any]:
        from visiondeploy.pipeline.stages.scenarios import run_scenario

        return run_scenario(given, self._load, self._feeds, self._threads)


def _answer(answers: BinaryIO, header: Mapping[str, Any], raw: bytes = b"") -> None:
    answers.write(json.dumps(header).encode() + b"\n" + raw)
    answers.flush()


def peak_of_this_process() -> int | None:
    """Its peak resident memory in bytes since its exec; None where the system does not tell.

    Unlike that of getrusage(2) the peak in proc(5) is of the address space, and so not of the process that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = next((line.split() for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    main(*sys.argv[1:6])
