"""What `kill -9` costs a bundle: `deploy bundle` is killed again and again, and what is left on disk is checked.

Each round begins with an empty folder. The command, for a folder and for an archive, is killed at a random time after
its first file is there; every fourth kill is followed by one of a run that begins on what was left. Then

1. at the bundle's place there is nothing, or the bundle, byte for byte;
2. the same command has to recover: it exits with 0, lays out the same bytes, and leaves nothing beside them.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.pipeline.files import write_atomic

KINDS = ("toy", "toy.tar.zst")
"""What the command is to make: a folder, an archive."""

Contents = dict[str, bytes]


@dataclass
class Found:
    """What came of the kills of one kind."""

    kills: int = 0
    finished: int = 0
    """Kills that came after the bundle was there."""
    faults: list[str] = field(default_factory=list)


def start(build: Path, target: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    call = [str(Path(sys.executable).with_name("deploy")), "bundle", str(build), "-o", str(target), "--force"]
    return subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)


def contents(place: Path) -> Contents:
    """Every file below a folder, or the one that it is; none where nothing is there."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def begun(process: subprocess.Popen[bytes], folder: Path, target: Path) -> float:
    """The time when something lies beside the target or the process has ended."""
    while process.poll() is None and not any(path != target for path in folder.iterdir()):
        time.sleep(0.0005)
    return time.monotonic()


def whole(build: Path, target: Path) -> tuple[Contents, float]:
    """A bundle that was left alone, and the seconds from its first file to its end. Raises `ValueError`."""
    process = start(build, target)
    began = begun(process, target.parent, target)
    if process.wait():
        raise ValueError(f"`deploy bundle {build}` fails: run it by hand")
    return contents(target), time.monotonic() - began


def faults(build: Path, target: Path, expected: Contents, recover: bool) -> Iterator[str]:
    """What is not as it has to be after a kill, and where it is to `recover`, after the command ran again."""
    if (left := contents(target)) and left != expected:
        yield f"{target.name} is torn: {len(left)} files"
    if not recover:
        return
    if code := start(build, target).wait():
        yield f"the next run ends with exit code {code}"
    if contents(target) != expected:
        yield "the next run lays out other bytes"
    if beside := sorted(path.name for path in target.parent.iterdir() if path != target):
        yield f"left behind: {', '.join(beside)}"


def experiment(build: Path, kills: int, seed: int) -> dict[str, Found]:
    """Kill as often, of each kind half."""
    delays, found = random.Random(seed), {kind: Found() for kind in KINDS}
    for kind, of_kind in found.items():
        with tempfile.TemporaryDirectory(prefix="kill9-") as name:
            expected, seconds = whole(build, Path(name) / kind)
        folder = tempfile.TemporaryDirectory(prefix="kill9-")
        for number in range(kills // len(KINDS)):
            target = Path(folder.name) / kind
            process = start(build, target)
            began = begun(process, target.parent, target)
            time.sleep(max(0.0, began + delays.uniform(0, seconds) - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            of_kind.kills += process.wait() == -signal.SIGKILL
            of_kind.finished += bool(contents(target))
            recover = number % 4 != 0
            of_kind.faults += faults(build, target, expected, recover)
            print(f"{kind}: {of_kind.kills} killed, {len(of_kind.faults)} faults", file=sys.stderr, flush=True)
            if recover:
                folder.cleanup()
                folder = tempfile.TemporaryDirectory(prefix="kill9-")
        folder.cleanup()
    return found


def main() -> None:
    """Run the experiment and say what came out, as Markdown; exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(description="What `kill -9` costs a bundle.")
    parser.add_argument("build", type=Path, help="the build that is bundled")
    parser.add_argument("--kills", type=int, default=100, help="of both kinds together (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills (default: 0)")
    parser.add_argument("-o", "--out", type=Path, default="kill9-bundle.md", help="where the table goes")
    arguments = parser.parse_args()
    found, here = experiment(arguments.build, arguments.kills, arguments.seed), capture(1)
    rows = [f"| {kind} | {one.kills} | {one.finished} | {len(one.faults)} |" for kind, one in found.items()]
    said = [f"- {kind}: {fault}" for kind, one in found.items() for fault in one.faults]
    text = f"""# What `kill -9` costs a bundle

| target | kills | after the rename | faults |
| --- | ---: | ---: | ---: |
{chr(10).join(rows)}

{chr(10).join(said) or "Nothing was lost."}

{(__doc__ or "").partition("checked.")[2].strip()}

Made by `python benchmarks/experiments/kill9_bundle.py BUILD --kills {arguments.kills} --seed {arguments.seed}` on
{here.cpu}, {here.cores_logical} cores, {here.os}, Python {here.python}.
"""
    write_atomic(arguments.out, text)
    print(text)
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
