"""Reports kept over time: one file a run, so that two branches that both add some never meet in one file.

A file is called after the time of its run, its commit and its own bytes: 20261201T115000Z-4bac79b-1a2b3c4d.json. There
is no index: the folder is the history, and a merge of two folders is that of both histories.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError

from visiondeploy.benchmarks.report.files import whole_file
from visiondeploy.benchmarks.report.measured import Latency, Scenario
from visiondeploy.benchmarks.report.parts import Part, Text, first_problem, parse
from visiondeploy.benchmarks.report.schema import Report, Row
from visiondeploy.errors import InputError, ResourceError, UsageError

# History
#   1  2026-12  first version: name, date, commit, validation, report
SCHEMA: Literal["visiondeploy.history/1"] = "visiondeploy.history/1"

LARGEST = 64 << 20
"""Bytes of a file that is read."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STAMP = "%Y%m%dT%H%M%SZ"


def _utc(date: datetime) -> datetime:
    if date.tzinfo is None:
        raise ValueError(f"a date has its zone, found {date.isoformat()}")
    return date.astimezone(UTC)


class Commit(Part):
    """The commit that was checked out; `dirty` says whether tracked files had been changed, None where nobody knows."""

    sha: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")]
    branch: Text | None = None
    dirty: bool | None = None


class Run(Part):
    """One report, and when, at which commit and on which validation data (their digest) it was made."""

    schema_name: Literal["visiondeploy.history/1"] = Field(default=SCHEMA, alias="schema")
    name: Text
    date: Annotated[datetime, AfterValidator(_utc)]
    commit: Commit | None
    validation: Text | None
    report: Report

    def to_json(self) -> str:
        """As JSON text with a final newline."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"report"})
        content["report"] = json.loads(self.report.to_json())
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Self:
        """Read a run; `source` is the file's name, for messages. Raises `InputError`."""
        try:
            content = parse(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source} is not JSON ({str(error)[:80]})") from None
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise InputError(f"{source} is not a kept run: found schema {str(found)[:80]!r}, expected {SCHEMA!r}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{source} is a run that breaks its contract: {first_problem(error)}") from None


@dataclass(frozen=True, slots=True)
class Kept:
    """A run, and the name of its file."""

    file: str
    run: Run


@dataclass(frozen=True, slots=True)
class Descent:
    """Commits with their parents, parents first; all that those which were asked for descend from."""

    commits: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the axis of commits: the runs of one commit, or one that had changes of its own.

    `before` are the places of the nearest commits with runs that it descends from.
    """

    sha: str | None
    dirty: bool
    runs: tuple[Kept, ...]
    before: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The commit in short, with a plus where it was changed; of no commit the day of the run."""
        if self.sha is None:
            return self.runs[0].run.date.strftime("%Y-%m-%d")
        return self.sha[:7] + ("+" if self.dirty else "")


def check_name(name: str) -> str:
    """The name, if it can be that of a folder. Raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a history is called by letters, digits, dots, dashes and underscores, found {name[:80]!r}: choose such a "
            "name."
        )
    return name


def slim(report: Report) -> Report:
    """The report without every single latency: percentiles, blocks and intervals stay."""
    return report.model_copy(update={"rows": tuple(map(_slim_row, report.rows))})


def _slim_row(row: Row) -> Row:
    return row.model_copy(
        update={
            "latency_ms": _slim_latency(row.latency_ms),
            "scenarios": tuple(map(_slim_scenario, row.scenarios)),
        }
    )


def _slim_scenario(scenario: Scenario) -> Scenario:
    loads = (load.model_copy(update={"latency_ms": _slim_latency(load.latency_ms)}) for load in scenario.loads)
    return scenario.model_copy(update={"loads": tuple(loads)})


def _slim_latency(latency: Latency | None) -> Latency | None:
    return None if latency is None else latency.model_copy(update={"raw": ()})


def save(folder: Path, run: Run) -> Path:
    """Write a run below `folder`, in a folder of its name; returns the file. Raises `UsageError`, `ResourceError`."""
    text = run.model_copy(update={"report": slim(run.report)}).to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    commit = "nocommit" if run.commit is None else run.commit.sha[:7]
    place = folder / check_name(run.name)
    path = place / f"{run.date.strftime(_STAMP)}-{commit}-{digest}.json"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{place} cannot be made ({error.strerror}): choose another folder with --history."
        ) from None
    with whole_file(path) as stream:
        stream.write(text.encode())
    return path


def names(folder: Path) -> list[str]:
    """The histories in a folder: the folders in it with a JSON file."""
    if not folder.is_dir():
        return []
    return sorted(place.name for place in folder.iterdir() if place.is_dir() and any(place.glob("*.json")))


def read(place: Path) -> tuple[list[Kept], list[str]]:
    """The runs in a folder, by date; and a sentence for each file that is left out, and why."""
    found, notes = [], []
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            found.append(Kept(path.name, Run.from_json(_bytes(path), path.name)))
        except InputError as error:
            notes.append(f"left out: {error}")
    return sorted(found, key=lambda kept: (kept.run.date, kept.file)), notes


def _bytes(path: Path) -> bytes:
    if not path.is_file() or path.suffix != ".json":
        raise InputError(f"{path.name} is no JSON file")
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path.name} is larger than {LARGEST >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror})") from None


def stops(found: Sequence[Kept], descent: Descent | None) -> list[Stop]:
    """The runs by commit, in the order in which commits follow each other; those at changed files behind their commit.

    A commit that `descent` does not have stands where its first run is by date, and follows the one in front of it only
    if neither is known to `descent`: what descends from what is not guessed.
    """
    groups: dict[tuple[str | None, bool, str], list[Kept]] = {}
    for kept in found:
        commit = kept.run.commit
        # What was changed, or is in no repository, is another state each time.
        single = "" if commit is not None and commit.dirty is False else kept.file
        groups.setdefault((commit.sha if commit else None, bool(commit and commit.dirty), single), []).append(kept)
    places = {sha: number for number, (sha, _) in enumerate(descent.commits if descent is not None else ())}
    known = sorted(
        (key for key in groups if key[0] in places),
        key=lambda key: (places[str(key[0])], key[1], groups[key][0].run.date, key[2]),
    )
    ordered = list(known)
    for key in (key for key in groups if key[0] not in places):  # by date, as the runs are
        date = groups[key][0].run.date
        after = [index for index, other in enumerate(ordered) if groups[other][0].run.date <= date]
        ordered.insert(after[-1] + 1 if after else 0, key)
    nearest = _nearest(descent, {str(key[0]) for key in known if not key[1]})
    index = {key[0]: place for place, key in enumerate(ordered) if key[0] in places and not key[1]}
    made = []
    earlier: int | None = None
    for place, key in enumerate(ordered):
        sha, dirty, _ = key
        before: tuple[int, ...] = ()
        if sha in places:
            ancestors = [sha] if dirty and sha in index else nearest.get(str(sha), ())
            before = tuple(sorted(index[ancestor] for ancestor in ancestors))
        else:
            before, earlier = (() if earlier is None else (earlier,)), place
        made.append(Stop(sha, dirty, tuple(groups[key]), before))
    return made


def _nearest(descent: Descent | None, wanted: set[str]) -> dict[str, tuple[str, ...]]:
    """For each commit the nearest of `wanted` that it descends from, over all its parents."""
    if descent is None:
        return {}
    behind: dict[str, tuple[str, ...]] = {}
    for sha, parents in descent.commits:
        reached: dict[str, None] = {}
        for parent in parents:
            # A parent that is not there is beyond a shallow clone's end.
            reached |= dict.fromkeys([parent] if parent in wanted else behind.get(parent, ()))
        behind[sha] = tuple(reached)
    return behind
