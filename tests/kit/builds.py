"""A recipe that is built in seconds, and what the tests of builds share."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from kit.files import contents, flip
from visiondeploy.pipeline.build import Built, Until, build
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.recipe import Recipe, resolve
from visiondeploy.pipeline.store import Store

__all__ = ["DEPLOY", "LAYERS", "TOY", "House", "Recorder", "contents", "deploy", "flip", "toy"]

TOY = Path(__file__).resolve().parents[1] / "pipeline" / "data" / "toy.toml"
DEPLOY = Path(sys.executable).with_name("deploy")
LAYERS = 13
"""Convolutions of the toy: two a block, five blocks, two transposed ones, the head."""


def toy(*overrides: str) -> Recipe:
    """The toy's recipe with "section.key=value"s."""
    return resolve(None, TOY, overrides, {})


@dataclass
class Recorder(Silent):
    """Events, kept."""

    started: list[str] = field(default_factory=list)
    cached: dict[str, bool] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def start(self, stage: str) -> None:
        self.started.append(stage)

    def progress(self, done: int, total: int, note: str) -> None:
        assert 0 <= done <= (total or done)

    def end(self, stage: str, seconds: float, cached: bool, note: str) -> None:
        self.cached[stage] = cached
        self.notes[stage] = note

    def tell(self, message: str) -> None:
        self.told.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    @property
    def ran(self) -> list[str]:
        """The stages that did not come from the store."""
        return [stage for stage, cached in self.cached.items() if not cached]


@dataclass(frozen=True)
class House:
    """A store and a working folder."""

    store: Path
    cwd: Path

    def build(
        self, *overrides: str, out: Path | None = None, until: Until = "measure", events: Recorder | None = None
    ) -> Built:
        """Build the toy with overrides, in the working folder."""
        seen = events or Recorder()
        with contextlib.chdir(self.cwd):
            built = build(toy(*overrides), Store(self.store, on_warning=seen.warn), out, seen, until)
        return Built(self.cwd / built.folder, built.record, built.report)

    def fork(self, cwd: Path) -> House:
        """A copy with a store of its own, which may be damaged."""
        store = cwd / "cache"
        shutil.copytree(self.store / "artifacts", store / "artifacts")
        return House(store, cwd)

    def deploy(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command in the working folder."""
        return deploy(*arguments, cwd=self.cwd, VISIONDEPLOY_CACHE=str(self.store), **more)


def deploy(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command with variables of the environment."""
    command = [str(DEPLOY), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=os.environ | more, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
