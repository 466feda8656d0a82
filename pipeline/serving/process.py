"""Servers as child processes on loopback: ports that are free, a wait until they answer, an end in every case."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from visiondeploy.errors import EnvironmentMismatch

LOOPBACK = "127.0.0.1"
_READY_SECONDS = 180.0
_STOP_SECONDS = 20.0
_PAUSE = 0.05


def free_ports(count: int) -> tuple[int, ...]:
    """Ports on loopback that nobody listens on now, all different."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind((LOOPBACK, 0))
        return tuple(one.getsockname()[1] for one in held)


@contextmanager
def running(
    command: Sequence[str], ready: str, log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers 200 at the address `ready`; it and all that it started end with the block.

    Its output goes to the file `log`. Raises `EnvironmentMismatch` where it cannot be started, ends, or does not
    answer in three minutes.
    """
    # A caller that is killed takes the server along, where util-linux is installed.
    lead = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                [*lead, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentMismatch(f"{command[0]} cannot be started ({error.strerror}): install it.") from error
        try:
            _wait(process, Path(command[0]).name, ready, log)
            yield process
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], name: str, ready: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EnvironmentMismatch(f"{name} ended with {process.returncode} before it was ready: {_last(log)}")
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(_PAUSE)
    raise EnvironmentMismatch(f"{name} was not ready after {_READY_SECONDS:.0f} s: {_last(log)}")


def _last(log: Path) -> str:
    """What a server said last that is an error, else what it said last."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E") or "rror" in line]
    return (errors or lines or ["it said nothing."])[-1][-500:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, first kindly."""
    for number, patience in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    # What the leader left behind is still of its group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
