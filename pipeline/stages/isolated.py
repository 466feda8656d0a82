"""The side of `worker` that tells it what to do."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from safetensors.numpy import save_file

from visiondeploy import errors
from visiondeploy.errors import EnvironmentMismatch, ResourceError, VisionDeployError
from visiondeploy.types import Array

_ERRORS: dict[str, type[VisionDeployError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.InputError,
        errors.IntegrityError,
        errors.EnvironmentMismatch,
        errors.BackendUnavailable,
        errors.ResourceError,
    )
}


class Worker:
    """One engine in a process of its own, which is started when it is entered and ended when it is left.

    It is a `latency.Runner`. Every method raises `ResourceError` where the process was killed, `EnvironmentMismatch`
    where it ended otherwise, each with the last line that it wrote, and what the backend or the engine raised there.
    """

    def __init__(self, backend: str, folder: Path, threads: int, feeds: Path, cores: Sequence[int] = ()) -> None:
        module = "visiondeploy.pipeline.stages.worker"
        # -P: the current folder is the user's, and a json.py in it must not become ours.
        self.command = [sys.executable, "-P", "-m", module, backend, str(folder), str(threads), str(feeds)]
        self.command.append(",".join(map(str, cores)))
        self.folder = folder

    def __enter__(self) -> Self:
        self._said = tempfile.TemporaryFile()  # a pipe would fill up, and stop it
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)
        return self

    def __exit__(self, *exc: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def load(self) -> None:
        """Load the engine, which `run`, `parts` and `peak` are of."""
        self._ask("load")

    def run(self, count: int) -> Sequence[int]:
        """Nanoseconds of so many runs, as the worker timed them."""
        found = array("q")
        found.frombytes(self._ask("run", count))
        return found.tolist()

    def parts(self) -> Mapping[str, float]:
        """As `types.Timed.parts`; empty for a session that times none."""
        found: Mapping[str, float] = self._ask("parts")
        return found

    def peak(self) -> int | None:
        """Its peak resident memory in bytes; None where the system does not tell."""
        found: int | None = self._ask("peak")
        return found

    def scenario(self, settings: Mapping[str, Any]) -> Any:
        """What `scenarios.run_scenario` found, as JSON. It opens its own sessions."""
        return self._ask("scenario", settings)

    def _ask(self, command: str, given: Any = None) -> Any:
        stdin = self._process.stdin
        try:
            if stdin is not None:
                stdin.write(json.dumps({command: given}).encode() + b"\n")
                stdin.flush()
        except BrokenPipeError:
            raise self._end() from None
        return self._read()

    def _read(self) -> Any:
        stdout = self._process.stdout
        line = stdout.readline() if stdout is not None else b""
        if stdout is None or not line.endswith(b"\n"):
            raise self._end()
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            raise _ERRORS.get(header["error"], EnvironmentMismatch)(header["message"])
        if "bytes" not in header:
            return header.get("found")
        raw = stdout.read(header["bytes"])
        if len(raw) != header["bytes"]:
            raise self._end()
        return raw

    def _end(self) -> VisionDeployError:
        """Why the process is no more."""
        status = self._process.wait()
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        said = f": {lines[-1]}" if lines else ", and it wrote nothing to standard error."
        if status == -signal.SIGKILL:
            return ResourceError(f"the process that ran it was killed, probably for want of memory{said}")
        how = f"{signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        return EnvironmentMismatch(f"the process that ran it ended with {how}{said}")


def write_feeds(feeds: Mapping[str, Array], folder: Path) -> Path:
    """The feeds as a file that workers read."""
    path = folder / "feeds.safetensors"
    save_file({name: feed if feed.flags.c_contiguous else feed.copy() for name, feed in feeds.items()}, path)
    return path
