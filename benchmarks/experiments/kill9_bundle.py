"""What `kill -9` costs `deploy bundle`: it is killed again and again, and what lies at the target is checked.

Each round makes the bundle of one build in a new place, by turns a folder and an archive, and is killed at a random
time, by turns anywhere in it and while it writes (from the folder beside the target to the target). Then

1. nothing may be torn: at the target there is nothing, or a bundle that `deploy verify --no-run` takes;
2. the same command has to recover: it exits with 0, the bundle has the bytes of one that was left alone, and beside it
   nothing is left.

The command runs in a fork of a process that has imported everything, so that a round takes a second.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.pipeline.bundle.checks import Asked, Mark, findings
from visiondeploy.pipeline.bundle.make import bundle
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.files import write_atomic

PRELOADED = ("numpy", "onnx", "onnxruntime", "openvino", "safetensors.numpy", "zstandard", "matplotlib.figure")


@dataclass
class Case:
    """Where kills fall: from `begun` on, into a target of this name; and what came of them."""

    name: str
    target: str
    begun: Callable[[Path], bool]
    seconds: float = math.inf
    kills: int = 0
    before: int = 0
    torn: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def writing(folder: Path) -> bool:
    """Whether something lies in the folder of the target."""
    return any(folder.iterdir())


def start(build: Path, target: Path) -> int:
    """The command in a process of its own; its number."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            os.setsid()
            bundle(build, target, backend=None, name=None, version=1, force=True, key=None, events=Silent())
            code = 0
        finally:
            os._exit(code)
    return number


def wait(number: int, until: Callable[[], bool]) -> int | None:
    """The exit status where the process ends before `until` is true; else None."""
    while True:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return status
        if until():
            return None
        time.sleep(0.0002)


def kill(case: Case, build: Path, folder: Path, delay: float) -> None:
    """Start the command, and kill it `delay` seconds after the case began, or when it is over."""
    number = start(build, folder / case.target)
    status = wait(number, lambda: case.begun(folder))
    began = time.monotonic()
    if status is None:
        status = wait(number, lambda: time.monotonic() > began + delay)
    if status is None:
        with suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)
        os.waitpid(number, 0)
        case.kills += 1
        case.before += not (folder / case.target).exists()
    else:
        case.seconds = min(case.seconds, time.monotonic() - began)


def bytes_of(path: Path) -> dict[str, bytes]:
    """Every file of a bundle, or the one that it is."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in files}


def check(case: Case, build: Path, folder: Path, expected: dict[str, bytes]) -> None:
    """Note what is torn, and what the next run does not mend."""
    target = folder / case.target
    if os.path.lexists(target):
        case.torn += [f"{one.name}: {one.found}" for one in findings(target, Asked(run=False)) if one.mark is Mark.FAIL]
    status = wait(start(build, target), lambda: False)
    left = sorted(path.name for path in folder.iterdir() if path != target)
    if status or left or not target.exists() or bytes_of(target) != expected:
        case.failed.append(f"exit status {status}, left behind {left}, at the target {target.exists()}")


def experiment(build: Path, kills: int, seed: int) -> list[Case]:
    """Rounds of all cases, until each was killed `kills` times or tried three times as often."""
    delays = random.Random(seed)
    cases = [
        Case(f"{name}, {where}", target, begun)
        for name, target in (("folder", "unet"), ("archive", "unet.tar.zst"))
        for where, begun in (("anywhere", lambda _: True), ("writing", writing))
    ]
    with tempfile.TemporaryDirectory(prefix="kill9-") as name:
        for case in cases:
            reference = Path(name) / "reference"
            reference.mkdir()
            if wait(start(build, reference / case.target), lambda: False):
                raise SystemExit(f"deploy bundle {build} fails without being killed")
            expected = bytes_of(reference / case.target)
            for _ in range(3 * kills + 1):
                if case.kills == kills:
                    break
                folder = Path(name) / "round"
                folder.mkdir()
                # A first round that is left alone tells how long it lasts.
                kill(case, build, folder, delays.uniform(0, case.seconds) if case.seconds < math.inf else math.inf)
                check(case, build, folder, expected)
                shutil.rmtree(folder)
            shutil.rmtree(reference)
            print(case, file=sys.stderr, flush=True)
    return cases


def document(cases: list[Case], command: str) -> str:
    """The table, as Markdown."""
    rows = [
        f"| {case.name} | {case.seconds:.3f} | {case.kills} | {case.before} | {len(case.torn)} | {len(case.failed)} |"
        for case in cases
    ]
    faults = [f"- {case.name}: {fault}" for case in cases for fault in (*case.torn, *case.failed)]
    here = capture(1)
    return f"""# What `kill -9` costs `deploy bundle`

| killed in | lasts at least, s | kills | before it was there | torn bundles | failed recoveries |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

{chr(10).join(faults) or "Nothing was lost."}

{(__doc__ or "").partition("checked.")[2].strip()}

Made by `{command}`; {here.cpu}, Python {here.python}.
"""


def main() -> None:
    """Run the experiment and say what came out, as Markdown; exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(description="What `kill -9` costs `deploy bundle`.")
    parser.add_argument("build", type=Path, help="a measured build, as builds/unet-int8")
    parser.add_argument("--kills", type=int, default=35, help="of each case (default: 35)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills (default: 0)")
    parser.add_argument("-o", "--out", type=Path, default=Path("kill9_bundle.md"), help="the table")
    arguments = parser.parse_args()
    for name in PRELOADED:
        __import__(name)
    cases = experiment(arguments.build, arguments.kills, arguments.seed)
    command = f"python benchmarks/experiments/kill9_bundle.py {arguments.build} --kills {arguments.kills}"
    text = document(cases, f"{command} --seed {arguments.seed}")
    write_atomic(arguments.out, text)
    print(text)
    sys.exit(any(case.torn or case.failed for case in cases))


if __name__ == "__main__":
    main()
