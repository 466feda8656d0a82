"""Stage `sample`: a split to a calibration set, in which every class that occurs has its share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiondeploy.calibration.sets import choose, pool
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.errors import InputError
from visiondeploy.types import Array, Split, Task

# 1: a share for each class
VERSION = 1
TOOLS = ("numpy", "pillow")

SET = "set.json"
SCHEMA = "visiondeploy.calibration-set/1"


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """The images of a set in their split, the digest of their names and pixels, and how many show each class."""

    images: tuple[int, ...]
    held_back: tuple[int, ...]
    names: tuple[str, ...]
    digest: str
    classes: dict[str, int]

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> CalibrationSet:
        """From what the stage recorded."""
        lists = {name: tuple(meta[name]) for name in ("images", "held_back", "names")}
        return cls(**lists, digest=meta["digest"], classes=dict(meta["classes"]))


def sample(
    split: Split,
    task: Task,
    settings: CalibrationSettings,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Write `set.json` with the names and digests of the chosen images; return a `CalibrationSet` as a mapping.

    Raises `InputError` for an empty split.
    """
    if not len(split):
        raise InputError("the calibration set is empty: int8 needs at least one image; see data.calibration.")
    order = pool(len(split), settings.seed)
    shown = [frozenset[str]() for _ in order]
    if settings.stratify:
        for place, index in enumerate(order):
            shown[place] = task.strata(split[index])
            report(place + 1, len(order), "images looked through for rare classes")
    chosen = choose(order, shown, settings.images, settings.held_back)
    by_index = dict(zip(order, shown, strict=True))
    content = {
        "schema": SCHEMA,
        "split": split.name,
        "images": dict(_digests(split, chosen.images)),
        "held_back": dict(_digests(split, chosen.held_back)),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / SET).write_text(text, encoding="utf-8")
    made = CalibrationSet(
        chosen.images,
        chosen.held_back,
        tuple(content["images"]),
        hashlib.sha256(text.encode()).hexdigest(),
        dict(sorted(Counter(name for index in chosen.images for name in by_index[index]).items())),
    )
    return asdict(made)


def _digests(split: Split, indices: Sequence[int]) -> Iterator[tuple[str, str]]:
    for index in indices:
        item = split[index]
        digest = hashlib.sha256(repr(item.image.shape).encode())
        digest.update(item.image.tobytes())
        yield item.name, digest.hexdigest()


class Feeds(Sequence[Mapping[str, Array]]):
    """Images of a split as feeds, each read whenever it is asked for: memory is that of one."""

    def __init__(
        self, task: Task, split: Split, indices: Sequence[int], report: Callable[[int, int], None] | None = None
    ) -> None:
        self._task, self._split, self._indices, self._report = task, split, indices, report

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: Any) -> Any:
        feeds = self._task.preprocess([self._split[self._indices[place]]])
        if self._report is not None:
            self._report(place + 1, len(self))
        return feeds
