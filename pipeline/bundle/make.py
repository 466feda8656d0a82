"""`deploy bundle`: the order in which a bundle is made, in one place.

gate ─► digests of the build ─► target ─► contract and lint ─► golden runs ─► files ─► manifest ─► [sign] ─► rename
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.table import BACKENDS, REFERENCES
from visiondeploy.pipeline.bundle import golden, mlserver, pages, provenance, sbom, triton
from visiondeploy.pipeline.bundle.card import FILE as CARD
from visiondeploy.pipeline.bundle.card import card_of
from visiondeploy.pipeline.bundle.contract import contract_of, lint
from visiondeploy.pipeline.bundle.manifest import (
    MANIFEST,
    Contract,
    Engine,
    FileEntry,
    Manifest,
    Role,
    Target,
    Tolerances,
)
from visiondeploy.pipeline.bundle.place import appearing, check_target
from visiondeploy.pipeline.bundle.signing import check_signer, sign
from visiondeploy.pipeline.bundle.subject import Subject, subject_of
from visiondeploy.pipeline.bundle.target import check_here, target_of
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.files import copy_verified, sha256_file, tree, write_atomic
from visiondeploy.pipeline.opening import MODEL, dataset_of

ENGINE = "engine"
"""Where an engine lies that Triton has no backend for."""
SOURCE = "model"

ROLES: Mapping[str, Role] = {
    ENGINE: Role.ENGINE,
    SOURCE: Role.SOURCE,
    triton.FOLDER: Role.TRITON,
    mlserver.FOLDER: Role.MLSERVER,
    golden.FOLDER: Role.GOLDEN,
    "report": Role.REPORT,
    CARD: Role.CARD,
    sbom.FILE: Role.SBOM,
    provenance.FILE: Role.PROVENANCE,
}
"""What files are for, by the first part of their path; those beside the engine are the engine's."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Bundled:
    """Where the bundle is, and its manifest."""

    path: Path
    manifest: Manifest


def bundle(
    build: Path,
    target: Path,
    *,
    backend: str | None,
    name: str | None,
    version: int,
    force: bool,
    key: Path | None,
    events: Events,
) -> Bundled:
    """Make the bundle of a build's engine at `target`, a folder or a `.tar.zst`, signed with `key` if that is given.

    The same build gives the same bytes. Raises `GateFailed` for a build whose verdict is not PASS unless `force`d,
    `InputError` for what is no build, `UsageError` for a build without such an engine and a target that holds something
    else, `IntegrityError` where a file of the build was changed, `EnvironmentMismatch` where the engine was measured on
    another machine or runtime, `ResourceError` where the bundle cannot be written.
    """
    check_target(target)
    if key is not None:
        check_signer(key)
    subject = subject_of(build, backend, force=force)
    name = subject.record.name if name is None else name
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r} is no name, expected up to 128 letters, digits, '.', '_' and '-'.")
    events.start("bundle")
    began = time.monotonic()
    runs_on = target_of(subject)
    check_here(runs_on, subject.place.build.recipe.threads)
    contract = contract_of(subject.spec, subject.onnx_file)
    engine = _engine(subject, name, version)
    events.progress(0, 2, "golden runs")
    runs, tolerances = _golden(subject, contract)
    events.progress(1, 2, "files")
    with appearing(target) as folder:
        _write(folder, subject, name, version, contract, engine, runs_on, runs, tolerances)
        _check(folder, contract, engine)
        manifest = Manifest(
            name=name,
            version=version,
            visiondeploy=subject.record.visiondeploy,
            engine=engine,
            contract=contract,
            tolerances=tolerances,
            target=runs_on,
            verdict=subject.verdict,
            network=subject.record.network,
            files=_entries(folder, engine),
        )
        write_atomic(folder / MANIFEST, manifest.to_json())
        if key is not None:
            sign(folder, key)
    size = sum(entry.size for entry in manifest.files)
    events.end("bundle", time.monotonic() - began, False, f"{len(manifest.files)} files, {size / 1e6:.1f} MB")
    return Bundled(target, manifest)


def _engine(subject: Subject, name: str, version: int) -> Engine:
    built = subject.engine
    served = f"{triton.FOLDER}/{name}/{version}" if built.backend in triton.PLATFORMS else ENGINE
    return Engine(
        backend=built.backend,
        precision=built.precision,
        folder=served,
        realised=subject.row.realised or {},
        threads=subject.place.build.recipe.threads,
    )


def _golden(subject: Subject, contract: Contract) -> tuple[golden.Golden, Tolerances]:
    """Golden runs of the engine; of its source where the engine is for another machine. How near others have to come.

    The limits are those that the build held when the engine was compiled from its source.
    """
    recipe = subject.place.build.recipe
    task = task_of(subject.spec)
    split = dataset_of(subject.place.build).split(recipe.data.val)
    backend, own = BACKENDS[subject.engine.backend], True
    folder = subject.place.folder
    if backend.unrunnable() is not None:
        backend, folder, own = BACKENDS[REFERENCES["onnx"]], subject.onnx_file.parent, False
    platform = triton.PLATFORMS.get(subject.engine.backend)
    batches = own and platform is not None and triton.max_batch_size(contract, platform, folder) > 1
    runs = golden.record(partial(backend.load, folder, recipe.threads), task, split, batches=batches)
    # Numbers are near each other or not; those of class maps are names.
    numbers = bool(task.values(runs.outputs[0]))
    return runs, Tolerances(
        sqnr_db=recipe.limits.compile_sqnr_db if numbers else None,
        agreement=None if numbers else recipe.limits.io_agreement,
        exact=runs.exact and own,
        exact_in_batches=runs.exact_in_batches,
        made_by="engine" if own else "source",
    )


def _write(
    folder: Path,
    subject: Subject,
    name: str,
    version: int,
    contract: Contract,
    engine: Engine,
    target: Target,
    runs: golden.Golden,
    tolerances: Tolerances,
) -> None:
    """Write all but the manifest."""
    _copy(subject, subject.engine.folder, folder / engine.folder)
    if not _is_engine(subject):
        _copy(subject, subject.source, folder / SOURCE, only=(MODEL,))
    if engine.backend in triton.PLATFORMS:
        config = triton.config_of(name, contract, engine, target, folder / engine.folder)
        _put(folder, f"{triton.FOLDER}/{name}/{triton.CONFIG}", config)
    _put(folder, f"{mlserver.FOLDER}/{mlserver.SETTINGS}", mlserver.settings_of(name, version, contract))
    (folder / golden.FOLDER).mkdir()
    golden.write(runs, folder)
    _put(folder, pages.JSON, subject.report.to_json())
    _put(folder, pages.HTML, pages.page_of(subject.report, name))
    _put(folder, CARD, card_of(subject, name, version, contract, engine, target, tolerances, len(runs.inputs)))
    entries = _entries(folder, engine)
    _put(folder, sbom.FILE, sbom.sbom_of(subject, name, version, contract, target, entries))
    _put(folder, provenance.FILE, provenance.provenance_of(subject, _entries(folder, engine)))


def _is_engine(subject: Subject) -> bool:
    """Whether the engine is the ONNX file itself."""
    return subject.engine.backend == REFERENCES["onnx"]


def _copy(subject: Subject, place: str, target: Path, only: Sequence[str] = ()) -> None:
    """Copy the files below a place of the build, whose bytes are checked on the way."""
    target.mkdir(parents=True)
    for name, below, digest in subject.files_below(place):
        if not only or below in only:
            (target / below).parent.mkdir(parents=True, exist_ok=True)
            copy_verified(subject.place.build.folder / name, digest, target / below)


def _put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / name, text)


def _check(folder: Path, contract: Contract, engine: Engine) -> None:
    """Raise `InputError` where the files in a bundle do not say what its contract says."""
    onnx_file = folder / (SOURCE if (folder / SOURCE).exists() else engine.folder) / MODEL
    problems = [*lint(contract, onnx_file)]
    if engine.backend in triton.PLATFORMS:
        problems += triton.lint(contract, triton.platform_of(engine.backend), folder / engine.folder)
    if problems:
        raise InputError(f"{problems[0]}: choose another engine with --backend.")


def _entries(folder: Path, engine: Engine) -> tuple[FileEntry, ...]:
    """The files that are there, as the manifest lists them."""
    names, _ = tree(folder)
    return tuple(
        FileEntry(
            path=name,
            role=Role.ENGINE if name.startswith(f"{engine.folder}/") else ROLES[name.partition("/")[0]],
            sha256=sha256_file(folder / name),
            size=(folder / name).stat().st_size,
        )
        for name in names
    )
