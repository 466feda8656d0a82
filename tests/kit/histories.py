"""A git repository with reports kept at its commits: two branches that are merged."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kit import reports
from visiondeploy.benchmarks.history import Run, save
from visiondeploy.benchmarks.report.measured import Latency, Speedup
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.pipeline.commits import commit_of

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Repository:
    """A real one, deterministic: who commits and when is set, and nothing of the user's configuration is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = 0
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def histories(self) -> Path:
        """Where `deploy history` looks when it is called here."""
        return self.root / "benchmarks" / "history"

    def git(self, *words: str) -> str:
        stamp = (START + timedelta(hours=self.clock)).isoformat()
        settings = {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_DATE": stamp,
            **{f"GIT_{who}_{what}": f"tester@{who}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        command = ["git", "-C", str(self.root), *words]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, text: str) -> str:
        """Commit all that is there; returns the commit."""
        self.clock += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", text)
        return self.git("rev-parse", "HEAD")

    def keep(self, speedup: float, name: str = "unet", **changes: Any) -> Path:
        """Keep a report as `deploy bench --save` does, an hour after the last one."""
        self.clock += 1
        date = START + timedelta(hours=self.clock)
        validation = changes.pop("validation", "v" * 64)
        made = report(speedup, **changes)
        return save(
            self.histories,
            Run(name=name, date=date, commit=commit_of(self.root), validation=validation, report=made),
        )


def report(speedup: float, *, threads: int = 2, miou: float = -0.0031, **versions: str) -> Report:
    """The baseline and one engine that is so many times as fast, on 101 images."""
    p50 = 3096.1 / speedup
    engine = reports.int8().model_copy(
        update={
            "speedup": Speedup(value=speedup, ci95=(speedup * 0.96, speedup * 1.05), blocks=7),
            "latency_ms": Latency(
                p50=p50, p90=None, p99=None, n=7, raw=(p50,) * 7, blocks=tuple(p50 * (1 + k / 50) for k in range(-3, 4))
            ),
            "quality": reports.quality(miou, miou - 0.004, miou + 0.003),
        }
    )
    made = reports.report(reports.baseline(), engine)
    environment = made.environment.model_copy(
        update={"threads": threads, "versions": {**made.environment.versions, **versions}}
    )
    return made.model_copy(update={"environment": environment})


def merged(root: Path) -> Repository:
    """Reports at the commits of two branches, each committed with the next commit of its own branch.

        one 5.0 ─ two 5.2 ─┬─ three 5.1 ─────────┬─ merge 7.3 ─ seven 7.6
                           └─ four 7.0 ─ five 7.4 ┘

    The runs at four and five lie before that at three.
    """
    made = Repository(root)
    made.commit("one")
    made.keep(5.0)
    made.commit("two")
    made.keep(5.2)
    made.git("switch", "--quiet", "--create", "fast")
    made.commit("four")
    made.keep(7.0)
    made.commit("five")
    made.keep(7.4)
    made.commit("what five was")
    made.git("switch", "--quiet", "main")
    made.commit("three")
    made.keep(5.1)
    made.commit("what three was")
    made.clock += 1
    made.git("merge", "--quiet", "--no-edit", "fast")
    made.keep(7.3)
    made.commit("seven")
    made.keep(7.6)
    return made
