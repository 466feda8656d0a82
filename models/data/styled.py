"""Photographs with paintings as their truths: each photograph once for each painting that it is to look like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from visiondeploy.errors import UsageError
from visiondeploy.models.data.images import read_image
from visiondeploy.types import Dataset, Image, Sample, Split


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture whose style is wanted; `digest` is the sha256 of its pixels, in hex."""

    name: str
    image: Image
    digest: str


def read_painting(path: Path, size: int) -> Painting:
    """The painting in a file, its longer side brought to `size` pixels. Raises `InputError` as `read_image`."""
    image = read_image(path)
    scale = size / max(image.shape[:2])
    height, width = (max(1, round(extent * scale)) for extent in image.shape[:2])
    scaled = np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.LANCZOS))
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    return Painting(path.stem, scaled, digest)


class StyledSplit:
    """Sample i is photograph i // paintings, to be painted like painting i % paintings, which is its target."""

    def __init__(self, split: Split, paintings: Sequence[Painting]) -> None:
        self.name = split.name
        self._split, self._paintings = split, tuple(paintings)

    def __len__(self) -> int:
        return len(self._split) * len(self._paintings)

    def __getitem__(self, index: int) -> Sample:
        place, style = divmod(index, len(self._paintings))
        sample, painting = self._split[place], self._paintings[style]
        name = sample.name if len(self._paintings) == 1 else f"{sample.name} as {painting.name}"
        return replace(sample, name=name, target=painting.image, style=style)


class StyledDataset:
    """A data set of photographs, of which masks and classes do not matter, with paintings.

    Raises `UsageError` where there is no painting.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index = 255

    def __init__(self, photographs: Dataset, paintings: Sequence[Painting]) -> None:
        if not paintings:
            raise UsageError("style transfer needs a painting: name a picture with --style, or in style.images.")
        self._photographs = photographs
        self.paintings = tuple(paintings)

    @property
    def name(self) -> str:
        """That of the photographs, and of a single painting."""
        several = f"{len(self.paintings)}-styles"
        return f"{self._photographs.name}-{self.paintings[0].name if len(self.paintings) == 1 else several}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the photographs."""
        return self._photographs.splits

    def split(self, name: str) -> StyledSplit:
        """A split of the photographs with all paintings."""
        return StyledSplit(self._photographs.split(name), self.paintings)

    def digest(self, split: str) -> str:
        """Sha256 over the photographs of a split and the paintings."""
        every = [[painting.digest, *painting.image.shape] for painting in self.paintings]
        return hashlib.sha256(json.dumps([self._photographs.digest(split), every]).encode()).hexdigest()


class PhotographSplit:
    """The images of a split without their truths."""

    def __init__(self, split: Split) -> None:
        self.name = split.name
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Sample:
        return replace(self._split[index], target=None)


class PhotographDataset:
    """A data set of photographs, of which masks and classes do not matter, where no painting is known."""

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index = 255

    def __init__(self, photographs: Dataset) -> None:
        self._photographs = photographs
        self.name, self.splits, self.digest = photographs.name, photographs.splits, photographs.digest

    def split(self, name: str) -> PhotographSplit:
        """A split of the photographs."""
        return PhotographSplit(self._photographs.split(name))
