"""What `deploy verify` checks, in this order. Nothing is deserialised before digests, and the signature, held.

layout      every path, type, size and mode; what the manifest does not list is refused (`snapshot.py`, `archive.py`)
signature   made with the key's other half, over the manifest and every file (`signing.py`)
digests     the SHA-256 of every file
contract    the parts say the same (`lint.py`)
verdict     that of the report; one that is not PASS was forced
target      this machine can run it, and what is different here (`fit.py`)
golden      the engine is loaded and gives the golden outputs (`golden_run.py`)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from visiondeploy.errors import VisionDeployError
from visiondeploy.pipeline.bundle import golden_run
from visiondeploy.pipeline.bundle.checked import check_digests
from visiondeploy.pipeline.bundle.fit import fit
from visiondeploy.pipeline.bundle.lint import lint
from visiondeploy.pipeline.bundle.manifest import SIGNATURE, Manifest
from visiondeploy.pipeline.bundle.signing import check_signature
from visiondeploy.pipeline.bundle.snapshot import Snapshot, snapshot
from visiondeploy.types import Outcome

# 1: schema, bundle, exit_code, seconds, checks of name, status, found, seconds (exit_code where it failed)
SCHEMA = "visiondeploy.verification/1"


class Mark(StrEnum):
    """How a check ended. WARNING and SKIPPED say what to know, and change no exit code."""

    OK = "ok"
    WARNING = "warning"
    SKIPPED = "skipped"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about a bundle. `exit_code` is that of the error where the check failed; no other follows then."""

    name: str
    mark: Mark
    found: str
    seconds: float = 0.0
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What to check a bundle with: a public key, if there is one, and whether to load the engine and run it."""

    key: Path | None = None
    run: bool = True


Said = tuple[Mark, str]
Check = Callable[[Snapshot, Asked], Iterator[Said]]


def findings(bundle: Path, asked: Asked) -> Iterator[Finding]:
    """The checks of a bundle as they end; the first that fails is the last."""
    started, name = time.monotonic(), "layout"
    try:
        with snapshot(bundle) as copy:
            for name, check in CHECKS.items():
                for mark, found in check(copy, asked):
                    yield Finding(name, mark, found, time.monotonic() - started)
                    started = time.monotonic()
    except VisionDeployError as error:
        yield Finding(name, Mark.FAIL, str(error), time.monotonic() - started, error.exit_code)


def to_json(bundle: Path, found: list[Finding]) -> str:
    """All findings as one JSON object with a final newline."""
    content = {
        "schema": SCHEMA,
        "bundle": str(bundle),
        "exit_code": max(one.exit_code for one in found),
        "seconds": round(sum(one.seconds for one in found), 3),
        "checks": [
            {"name": one.name, "status": one.mark, "found": one.found, "seconds": round(one.seconds, 3)}
            | ({"exit_code": one.exit_code} if one.exit_code else {})
            for one in found
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _layout(copy: Snapshot, _: Asked) -> Iterator[Said]:
    yield Mark.OK, f"{_count(copy.manifest)}, {copy.size / 1e6:.1f} MB, and nothing else"


def _signature(copy: Snapshot, asked: Asked) -> Iterator[Said]:
    if asked.key is None:
        there = "there is a signature" if (copy.folder / SIGNATURE).exists() else "there is no signature"
        yield Mark.SKIPPED, f"not checked: no key ({there}; --key PUB checks it)"
        return
    check_signature(copy.folder, copy.manifest, asked.key)
    yield Mark.OK, f"manifest and every file, by the owner of {asked.key.name}"


def _digests(copy: Snapshot, _: Asked) -> Iterator[Said]:
    check_digests(copy.folder, copy.manifest)
    yield Mark.OK, f"{_count(copy.manifest)} as listed"


def _contract(copy: Snapshot, _: Asked) -> Iterator[Said]:
    lint(copy.folder, copy.manifest)
    contract = copy.manifest.contract
    ports = (", ".join(tensor.name for tensor in side) for side in (contract.inputs, contract.outputs))
    yield Mark.OK, f"{contract.task}, {' → '.join(ports)}: manifest, graph, configurations and golden files agree"


def _verdict(copy: Snapshot, _: Asked) -> Iterator[Said]:
    verdict = copy.manifest.verdict
    if verdict.status is Outcome.PASS:
        yield Mark.OK, "PASS"
    else:
        yield Mark.WARNING, f"{verdict.status}, bundled with --force: {verdict.first or 'no check is named'}"


def _target(copy: Snapshot, _: Asked) -> Iterator[Said]:
    target = copy.manifest.target
    for difference in (differences := fit(copy.manifest).differences):
        yield Mark.WARNING, difference
    if not differences:
        runtimes = ", ".join(f"{name} {version}" for name, version in target.runtimes.items())
        yield Mark.OK, f"as here: {' '.join((target.machine, *target.isa, *target.gpus))}; {runtimes}"


def _golden(copy: Snapshot, asked: Asked) -> Iterator[Said]:
    if not asked.run:
        yield Mark.SKIPPED, "not run: --no-run"
        return
    yield Mark.OK, golden_run.run(copy.folder, copy.manifest, same=fit(copy.manifest).same)


def _count(manifest: Manifest) -> str:
    return f"{len(manifest.files)} files"


CHECKS: dict[str, Check] = {
    "layout": _layout,
    "signature": _signature,
    "digests": _digests,
    "contract": _contract,
    "verdict": _verdict,
    "target": _target,
    "golden": _golden,
}
