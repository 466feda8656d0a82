"""Bundles of toy builds, made for real, and builds whose record says something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.bundle.make import Bundled, bundle
from visiondeploy.pipeline.bundle.subject import Subject, subject_of
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.folder import BUILD

DEFAULTS: dict[str, Any] = {"backend": None, "name": None, "version": 1, "force": False, "key": None}


def bundled(build: Path, target: Path, **options: Any) -> Bundled:
    """As `deploy bundle`."""
    return bundle(build, target, **{**DEFAULTS, "events": Silent(), **options})


def subject(build: Path, backend: str | None = None) -> Subject:
    """What is bundled of a build, whatever its verdict."""
    return subject_of(build, backend, force=True)


def saying(build: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a build whose `build.json` was changed."""
    shutil.copytree(build, copy)
    content = json.loads((copy / BUILD).read_text())
    change(content)
    (copy / BUILD).write_text(json.dumps(content))
    return copy


def failing(content: dict[str, Any]) -> None:
    """A verdict of FAIL, as of a build that lost too much."""
    check = {"name": "toy: miou", "limit": "at most 0.5 points", "found": "−3 points", "status": "FAIL"}
    content["verdict"] = {"status": "FAIL", "checks": [*content["verdict"]["checks"], check]}
