"""Peak resident memory of a command, in a process of its own.

On Linux the peak that `wait4` reports for a child also covers the moment before its `exec`, when it still
was a copy of the process that started it (`exec_mmap` in fs/exec.c keeps the high-water mark of the old
address space). A child of a process that holds a network would seem to need what the network needs. The
command is therefore started by a launcher, a bare interpreter of about ten megabytes, which asks for the
peak of that one child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from visiondeploy.errors import EnvironmentMismatch, ResourceError, UsageError, VisionDeployError

# Imports nothing that is not built in, lest the launcher itself grow. Writes "status maxrss" or "errno".
_LAUNCHER = """
import os, sys
report = int(sys.argv[1])
os.set_inheritable(report, False)
try:
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
except OSError as error:
    os.write(report, str(error.errno).encode())
else:
    _, status, usage = os.wait4(child, 0)
    os.write(report, f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}".encode())
"""

# Of getrusage(2): Linux counts in KiB, Darwin in bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_rss(command: Sequence[str], timeout: float) -> int:
    """Run a command and return its peak resident memory in bytes.

    That is the peak of the process itself, or of the largest of its children that it waited for, if that
    is more; not their sum. Standard output and error are captured, input is empty. `timeout` is in
    seconds; when it is over, the process and its children are killed.

    Raises UsageError on an empty command; ResourceError where the time is over or the process was killed
    (as the kernel does when memory is short); EnvironmentMismatch where the command cannot be started or
    fails, with the last line of its standard error.
    """
    if not command:
        raise UsageError("there is no command to measure the memory of: give a program and its arguments.")
    receive, report = os.pipe()
    try:
        errors = _run([sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *command], report, timeout)
    except BaseException:
        os.close(receive)
        raise
    finally:
        os.close(report)
    with os.fdopen(receive, "rb") as stream:
        answer = stream.read().split()
    if len(answer) == 2 and answer[0] == b"0":
        return int(answer[1]) * _UNIT
    raise _failure(command[0], [int(part) for part in answer], _last_line(errors))


def _run(launcher: list[str], report: int, timeout: float) -> bytes:
    with subprocess.Popen(
        launcher,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[report],
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            raise ResourceError(
                f"measuring the memory of '{launcher[6]}' took longer than {timeout:g} s: give it more time."
            ) from None
        except BaseException:
            _kill_group(process)
            raise
    return errors


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The launcher leads a session of its own, so this reaches the command and its children too.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _failure(program: str, answer: list[int], last_line: str) -> VisionDeployError:
    said = f": {last_line}" if last_line else ", and it wrote nothing to standard error."
    match answer:
        case [errno]:
            return EnvironmentMismatch(f"'{program}' could not be started: {os.strerror(errno)}.")
        case [status, _] if status == -signal.SIGKILL:
            return ResourceError(f"'{program}' was killed, probably for want of memory{said}")
        case [status, _]:
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            return EnvironmentMismatch(f"'{program}' ended with {how} while its memory was measured{said}")
        case _:
            return ResourceError(f"the process that measures the memory of '{program}' was itself killed{said}")


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
