"""What `kill -9` costs a build: each stage is killed again and again, and what is left on disk is checked.

Every round starts from a copy of a finished build whose store lacks what one stage makes, so that this stage
is the first to run. `deploy build` and its children are killed at a random time within it. Then

1. nothing may be torn: every artifact that is visible has its digests, the build's folder is whole or says that it
   is incomplete, and the state that training resumes from has the length that its own header says;
2. the same command has to recover: it exits with 0, warns of nothing, lays out the same bytes as a build that was
   left alone (TensorBoard's aside), goes on from the step that was saved, and leaves no temporary file behind;
3. run once more, it has to take every stage from the store.

"train" goes from the first step, "publishing" from the first byte of `artifact.json` to the rename that makes an
artifact visible (in quantise); "build folder" lays the results out, by turns in a new folder and in one without files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.errors import VisionDeployError
from visiondeploy.pipeline.folder import BUILD, read_build, verify
from visiondeploy.pipeline.store import Store, write_atomic

STEPS, SAVE_EVERY, THREADS = 60, 5, 1
SETTINGS = f"""model.options.base_width=4 model.options.depth=2 data.options.train=64 data.options.val=8
train.steps={STEPS} train.save_every={SAVE_EVERY} train.batch_size=4 bench.latency.seconds=1 bench.latency.min_blocks=2
bench.latency.max_blocks=4 bench.latency.block_seconds=0.02 bench.latency.warmup_seconds=0.1"""
CALL = f"deploy build --model unet --precision int8 --size 32x32 --threads {THREADS}".split()
CALL += [word for setting in SETTINGS.split() for word in ("--set", setting)]
MARKS = {"train": "/tensorboard", "export": "-*", "quantise": "-*", "compile": "-*"}
VARIABLES = {"OMP_NUM_THREADS": str(THREADS), "PYTHONHASHSEED": "0"}  # for equal bytes: the order of sums and of sets


class Ground:
    """A folder with a store and a build of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.build = folder, folder / "cache", folder / "builds" / "unet-int8"

    def start(self) -> subprocess.Popen[bytes]:
        """The command in a process group of its own; what it says goes to the file `said`."""
        variables = {**os.environ, **VARIABLES, "VISIONDEPLOY_CACHE": str(self.store)}
        call = [str(Path(sys.executable).with_name(CALL[0])), *CALL[1:]]
        with (self.folder / "said").open("wb") as said, Path(os.devnull).open("wb") as out:
            return subprocess.Popen(call, cwd=self.folder, env=variables, stdout=out, stderr=said, process_group=0)

    def wait(
        self, process: subprocess.Popen[bytes], reached: Callable[[Ground], object], pause: float = 0.0002
    ) -> float:
        """The time when something is reached, or the process has ended; it is looked at every `pause` seconds."""
        while process.poll() is None and not reached(self):
            time.sleep(pause)
        return time.monotonic()

    def run(self, watch: Callable[[Ground], object] = lambda _: None) -> list[str]:
        """The lines that the command says; `watch` is called until it ends. Raises `ValueError` where it fails."""
        self.wait(process := self.start(), watch, pause=0.005)
        said = (self.folder / "said").read_text(encoding="utf-8").splitlines()
        if process.returncode:
            raise ValueError(f"exit code {process.returncode}: {said[-1:]}")
        return said

    def made_by(self, stage: str) -> list[Path]:
        """What a stage has in the store, relative to that."""
        found = {path.parent: json.loads(path.read_bytes()) for path in self.store.glob("artifacts/*/*/artifact.json")}
        return [folder.relative_to(self.store) for folder, entry in found.items() if entry["stage"] == stage]

    def laid_out(self) -> bool:
        """Whether the build has a record that does not say "incomplete". Raises `ValueError` for a torn one."""
        record = self.build / BUILD
        return record.exists() and not json.loads(record.read_bytes()).get("incomplete")

    def files(self) -> tuple[dict[str, str], list[Path]]:
        """The digests of the build's files but TensorBoard's, full of times; and files that nobody has a use for."""
        digests = read_build(self.build)[0].files
        known = {self.build / name for name in (BUILD, *digests)}
        left = [path for path in self.build.rglob("*") if path.is_file() and path not in known]
        left += [*self.store.glob("tmp/*"), *self.store.glob("work/*")]
        return {name: digest for name, digest in digests.items() if "/tensorboard/" not in name}, left

    def saved(self) -> tuple[int, int]:
        """Time (ns) and step of the state that training resumes from, zeros for none. Raises `ValueError` if torn."""
        for path in self.store.glob("work/*/resume.safetensors"):
            with suppress(FileNotFoundError), path.open("rb") as file:
                data, changed = file.read(), os.fstat(file.fileno()).st_mtime_ns
                start = 8 + int.from_bytes(data[:8], "little")
                header = json.loads(data[8:start])
                if len(data) != start + max(part["data_offsets"][1] for part in header.values() if "dtype" in part):
                    raise ValueError("resume.safetensors does not have the length that its header says")
                return changed, int(json.loads(header["__metadata__"]["progress"])["step"])
        return 0, 0

    def torn(self) -> list[str]:
        """What is neither whole nor absent, in sentences."""
        found: list[str] = []
        try:
            for path in self.store.glob("artifacts/*/*"):
                Store(self.store, on_warning=found.append).get(path.name)
            self.saved()
            if self.laid_out():
                verify(self.build, read_build(self.build)[0])
        except (ValueError, KeyError, VisionDeployError) as error:
            found.append(str(error))
        return found


@dataclass
class Target:
    """Where to kill: what is removed for it to happen, when it begins and when it is over; and what came of it."""

    name: str
    removed: Callable[[Ground, int], list[Path]]
    begun: Callable[[Ground], bool]
    over: Callable[[Ground], bool]
    seconds: float = math.inf  # until a first kill that waits for the end has told how long it lasts
    kills: int = 0
    hits: int = 0
    torn: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)


def stage(name: str, made: list[Path], mark: str) -> Target:
    """A stage, from when the store has a file or folder named KEY and `mark` until it has all that the stage makes."""
    return Target(
        name,
        removed=lambda on, _: [on.store / path for path in made],
        begun=lambda on: any(any(on.store.glob(f"*/{path.name}{mark}")) for path in made),
        over=lambda on: all((on.store / path).exists() for path in made),
    )


def kill(ground: Ground, target: Target, delay: float) -> None:
    """Start the command and kill it with all its children, `delay` seconds into the target or when that is over."""
    process = ground.start()
    began = ground.wait(process, target.begun)
    ended = ground.wait(process, lambda on: time.monotonic() > began + delay or target.over(on))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    target.kills += (killed := process.wait() == -signal.SIGKILL)
    if target.over(ground):
        target.seconds = min(target.seconds, ended - began)
    else:
        target.hits += killed
    target.torn += ground.torn()


def recover(ground: Ground, target: Target, expected: dict[str, str]) -> None:
    """Run the command again, and once more. Raises `ValueError` for what is not as it has to be."""
    before, training = ground.saved(), target.name == "train" and not target.over(ground)
    states: set[tuple[int, int]] = set()
    said = ground.run(lambda ground: states.add(ground.saved()))
    # A training that resumes at step n saves n + SAVE_EVERY first; one that begins anew saves SAVE_EVERY.
    first = min(states - {before, (0, 0)}, default=None)
    resumed = before[1] if not training else first[1] - SAVE_EVERY if first else STEPS
    target.resumed += [resumed] * training
    digests, left = ground.files()
    changed = sorted(name for name, _ in digests.items() ^ expected.items())
    warnings = [line for line in said if line.startswith("!")]
    stages = len(read_build(ground.build)[0].stages)
    ran = stages - sum("from the store" in line for line in ground.run())
    if any(wrong := (resumed - before[1], changed, left, warnings, ran)):
        raise ValueError(f"steps off, bytes changed, left behind, warnings, stages in the third run: {wrong}")


def experiment(kills: int, seed: int) -> list[Target]:
    """Rounds of all targets, until each was hit `kills` times or tried twice as often."""
    delays = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kill9-") as name:
        reference, ground = Ground(Path(name) / "reference"), Ground(Path(name) / "round")
        reference.folder.mkdir()
        reference.run()
        laying_out = Target(
            "build folder",
            removed=lambda on, turn: [path for path in on.build.iterdir() if path.is_dir()] if turn % 2 else [on.build],
            begun=lambda on: on.build.exists() and not on.laid_out(),
            over=Ground.laid_out,
        )
        targets = [stage(each, reference.made_by(each), mark) for each, mark in MARKS.items()]
        targets += [stage("publishing", reference.made_by("quantise"), "-*/artifact.json"), laying_out]
        for target in targets:
            for number in range(2 * kills + 1):
                if target.hits == kills:
                    break
                shutil.copytree(reference.folder, ground.folder)
                for path in target.removed(ground, number):
                    shutil.rmtree(path)
                try:
                    kill(ground, target, delays.uniform(0, target.seconds))
                    recover(ground, target, reference.files()[0])
                except (ValueError, VisionDeployError) as error:
                    target.failed.append(str(error))
                shutil.rmtree(ground.folder)
            target.torn, target.failed = ([s.replace(name, "…") for s in said] for said in (target.torn, target.failed))
            print(target.name, target.hits, target.torn, target.failed, file=sys.stderr, flush=True)
    return targets


def main() -> None:
    """Run the experiment and say what came out, as Markdown; exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(description="What `kill -9` costs a build.")
    parser.add_argument("--kills", type=int, default=10, help="in each stage (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills (default: 0)")
    parser.add_argument("-o", "--out", type=Path, default="kill9.md", help="where the table goes (default: kill9.md)")
    arguments = parser.parse_args()
    targets, here = experiment(arguments.kills, arguments.seed), capture(THREADS)
    rows = [
        f"| {t.name} | {t.seconds:.3f} | {t.kills} | {t.hits} | {len(t.torn)} | {len(t.failed)} | {t.resumed or ''} |"
        for t in targets
    ]
    faults = [f"- {target.name}: {fault}" for target in targets for fault in (*target.torn, *target.failed)]
    text = f"""# What `kill -9` costs a build

| killed in | lasts at least, s | kills | in the stage | torn files | failed recoveries | steps resumed (each kill) |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
{chr(10).join(rows)}

{chr(10).join(faults) or "Nothing was lost."}

{(__doc__ or "").partition("checked.")[2].strip()}

Made by `python benchmarks/experiments/kill9.py --kills {arguments.kills} --seed {arguments.seed}`, which runs

    {" ".join([*(f"{name}={value}" for name, value in VARIABLES.items()), *CALL])}

Environment: {here.cpu} ({" ".join(here.isa)}), {here.cores_logical} cores, {here.os}, kernel {here.kernel}, Python
{here.python}; {", ".join(f"{tool} {version}" for tool, version in here.versions.items())}.
"""
    write_atomic(arguments.out, text)
    print(text)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
