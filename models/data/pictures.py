"""A folder of pictures without truths: photographs for style transfer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from visiondeploy.errors import InputError, unknown_name
from visiondeploy.models.data.images import read_image
from visiondeploy.models.reading import open_regular
from visiondeploy.types import Sample, Settings

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class PicturesSettings(Settings):
    """Where the folder has no folders "train" and "val", the share of its pictures that is held back as "val"."""

    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2


class PicturesSplit:
    """Some pictures; each is read from its file whenever it is asked for."""

    def __init__(self, name: str, files: tuple[Path, ...]) -> None:
        self.name, self.files = name, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """Image H×W×3 uint8, named by its file's stem. Raises `IndexError`, and `InputError` for a damaged file."""
        file = self.files[index]
        return Sample(file.stem, read_image(file), None)


class PicturesDataset:
    """The pictures in the folder `root`: of its folders, or all its files, of which every so many are held back.

    Raises `InputError` where there is no such folder or it has no pictures.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index = 255

    def __init__(self, root: Path, settings: PicturesSettings) -> None:
        self.root = root
        folders = {entry.name: pictures_in(entry) for entry in _entries(root) if entry.is_dir()}
        self._splits = {name: files for name, files in sorted(folders.items()) if files and not name.startswith(".")}
        if not self._splits:
            self._splits = _held_back(root, pictures_in(root), settings.val_share)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self._splits)

    def split(self, name: str) -> PicturesSplit:
        """The split of that name, sorted by file name. Raises `UsageError` where there is none."""
        if name not in self._splits:
            raise unknown_name(f"{self.name} split", name, self.splits)
        return PicturesSplit(name, self._splits[name])

    def digest(self, split: str) -> str:
        """Sha256, in hex, over the split's files by name and content. Raises as `split`."""
        total = hashlib.sha256()
        for file in self.split(split).files:
            try:
                with open_regular(file) as content:
                    found = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                raise InputError(f"{str(file)!r} cannot be read ({error.strerror}): check the file.") from None
            total.update(json.dumps([file.name, found]).encode())
        return total.hexdigest()


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that are pictures by their suffix, sorted by name; hidden ones are left out."""
    return tuple(file for file in _entries(folder) if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} cannot be listed ({error.strerror}), expected a folder of pictures: check the path."
        ) from None


def _held_back(root: Path, files: tuple[Path, ...], share: float) -> dict[str, tuple[Path, ...]]:
    """Every so many files for "val", the others for "train"."""
    if len(files) < 2:
        found = f"{len(files)} picture{'' if len(files) == 1 else 's'}"
        raise InputError(
            f"{str(root)!r} has {found}, expected two or more {', '.join(SUFFIXES[:3])} … files, or folders 'train' "
            "and 'val' with some: copy them there."
        )
    every = max(2, round(1 / share))
    # The middle one of each group, so that few pictures have one held back too.
    held = {index for index in range(len(files)) if index % every == min(every, len(files)) // 2}
    return {
        "train": tuple(file for index, file in enumerate(files) if index not in held),
        "val": tuple(file for index, file in enumerate(files) if index in held),
    }
