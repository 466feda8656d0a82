"""The commit that the current folder is at, and how commits follow each other, as git tells. Git is optional.

Nothing is asked of a remote, and nothing is written.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from visiondeploy.benchmarks.history import Commit, Descent

_SECONDS = 30


def commit_of(folder: Path) -> Commit | None:
    """The commit that is checked out in `folder`; None where that is in no repository, or git is not here."""
    sha = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not sha:
        return None
    # None where git does not say, which a folder that is not a work tree has.
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    branch = _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
    return Commit(sha=sha, branch=branch or None, dirty=None if changes is None else bool(changes))


def descent_of(folder: Path, shas: Iterable[str]) -> Descent | None:
    """How those of `shas` that the repository around `folder` has follow each other; None where git does not tell.

    Parents come before their children, and what is on one branch stays together (`git rev-list --topo-order`).
    """
    known = [sha for sha in sorted(set(shas)) if _git(folder, "cat-file", "-e", f"{sha}^{{commit}}") is not None]
    if not known:
        return None
    found = _git(folder, "rev-list", "--topo-order", "--reverse", "--parents", *known, "--")
    if found is None:
        return None
    lines = [line.split() for line in found.splitlines()]
    return Descent(tuple((sha, tuple(parents)) for sha, *parents in lines))


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it is not here, fails, or takes too long."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()
