"""The data set `synthetic`: made-up pictures, so that every stage can be tried without a download.

What is in them, and why they come out the same on every machine, is in `scene.py`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field

from visiondeploy.errors import unknown_name
from visiondeploy.models.data import scene
from visiondeploy.types import Array, Image, Sample, Seed, Settings

SPLITS = ("train", "val")
PALETTE = (
    (126, 189, 232),
    (139, 186, 92),
    (196, 98, 66),
    (38, 112, 66),
    (240, 190, 60),
    (214, 66, 120),
    (94, 84, 142),
    (250, 250, 240),
)

# A split keeps the samples that it has made up to this size.
CACHE_BYTES = 256 * 2**20

Side = Annotated[int, Field(ge=16, le=4096)]


class SyntheticSettings(Settings):
    """Options of `synthetic`. `size` is (height, width) in pixels, `train` and `val` count images.

    There is no split for calibration: a calibration set is a part of `train`.
    """

    size: tuple[Side, Side] = (128, 128)
    train: Annotated[int, Field(ge=1)] = 1000
    val: Annotated[int, Field(ge=1)] = 100
    seed: Seed = 0


class SyntheticSplit:
    """One split. Samples are painted when they are first read, and kept up to `CACHE_BYTES`."""

    def __init__(self, settings: SyntheticSettings, name: str) -> None:
        self.name = name
        self._settings = settings
        self._length: int = {"train": settings.train, "val": settings.val}[name]
        self._kept: dict[int, tuple[Image, Array]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        """Image H×W×3 uint8 and mask H×W uint8, which belong to the caller. Raises `IndexError` past the end."""
        index = range(self._length)[index]
        found = self._kept.get(index)
        if found is None:
            found = scene.render(self._settings.size, self._settings.seed, SPLITS.index(self.name), index)
            if (len(self._kept) + 1) * (found[0].nbytes + found[1].nbytes) <= CACHE_BYTES:
                self._kept[index] = found
        return Sample(f"{self.name}-{index:05d}", found[0].copy(), found[1].copy())


class SyntheticDataset:
    """Eight classes, no pixel of which is ignored. A picture depends on size, seed, split and index alone."""

    name = "synthetic"
    classes = scene.CLASSES
    ignore_index = 255
    palette = PALETTE
    splits = SPLITS

    def __init__(self, settings: SyntheticSettings) -> None:
        self.settings = settings
        self._splits = {name: SyntheticSplit(settings, name) for name in SPLITS}

    def split(self, name: str) -> SyntheticSplit:
        """The split of that name. Raises `UsageError` where there is none."""
        if name not in self._splits:
            raise unknown_name("synthetic split", name, SPLITS)
        return self._splits[name]

    def digest(self, split: str) -> str:
        """Sha256, in hex, of all that the split is made from; nothing is painted. Raises as `split`."""
        made_from = {
            "version": scene.VERSION,
            "split": split,
            "images": len(self.split(split)),
            "size": self.settings.size,
            "seed": self.settings.seed,
        }
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
