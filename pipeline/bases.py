"""Builds of the commit before, whose engines are measured in the same run as the candidate's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.folder import BuildRecord, Engine
from visiondeploy.pipeline.opening import OpenBuild, open_build
from visiondeploy.pipeline.stages.measure import Contender

PREFIX = "base:"
"""What the row's name of an engine of the base begins with."""

OF_BASE = "an engine of the base: agreement and speed-up are against the candidate's network, as of all rows"


def open_bases(folders: Sequence[Path], candidate: OpenBuild) -> list[OpenBuild]:
    """The base's builds. The network may be another one, as after training anew; images and task may not.

    Raises `UsageError` where an engine of theirs cannot be compared with one of the candidate, or there is none;
    `InputError` where a folder is no build.
    """
    builds = list({folder.resolve(): open_build(folder) for folder in folders}.values())
    for build in builds:
        if not build.record.engines:
            raise UsageError(f"{build.folder} ends with stage '{build.record.until}' and has no engine: build it.")
        difference = _difference(candidate.record, build.record)
        if difference:
            raise UsageError(
                f"the base {build.folder} cannot be compared with {candidate.folder}: it has {difference}; build both "
                "of the same data with the same recipe."
            )
    return builds


def _difference(candidate: BuildRecord, base: BuildRecord) -> str | None:
    ours, theirs = candidate.spec, base.spec
    for found, other, what in (
        (ours.task, theirs.task, "another task"),
        (ours.kinds, theirs.kinds, "other classes or paintings"),
        (ours.input, theirs.input, "another input size or normalisation"),
        (ours.io, theirs.io, "other inputs and outputs"),
        (candidate.validation, base.validation, "other validation data"),
    ):
        if found != other:
            return what
    return None


def base_contenders(
    builds: Sequence[OpenBuild], taken: set[str], contender: Callable[[OpenBuild, Engine], Contender]
) -> list[Contender]:
    """The base's engines as contenders with names of their own, one for each backend and precision.

    PyTorch's is left away: what is compared with it is in the candidate's rows. Raises `UsageError` where two builds
    bring the same engine.
    """
    found: dict[tuple[str, str], Contender] = {}
    names = set(taken)
    for build in builds:
        baseline = build.record.baseline
        for engine in build.record.engines:
            if baseline is not None and (engine.backend, engine.precision) == (baseline.backend, baseline.precision):
                continue
            made = contender(build, engine)
            key = (engine.backend, engine.precision.value)
            if key in found:
                raise UsageError(
                    f"two builds of the base bring an engine of {key[0]} in {key[1]}, the second {build.folder}: name "
                    "one of them with --base."
                )
            name = PREFIX + made.name
            while name in names:
                name += "'"
            names.add(name)
            found[key] = replace(made, name=name, notes=(*made.notes, OF_BASE))
    return list(found.values())
