"""A data set in a folder of files.

    dataset.toml                            name, classes and the rest of `FolderSettings`
    images/<split>/*.jpg, *.jpeg, *.png     the pictures
    masks/<split>/*.png                     a mask for each, with the same stem: the value of a pixel is its class

That every image has its mask is checked when a split is opened, what is in the files when a sample is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from visiondeploy.errors import InputError, unknown_name
from visiondeploy.models.data.images import read_image, read_mask
from visiondeploy.models.reading import open_regular, read_toml
from visiondeploy.models.validation import first_problem
from visiondeploy.types import Sample, Settings

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_SUFFIXES = (".png",)

Byte = Annotated[int, Field(ge=0, le=255, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class FolderSettings(Settings):
    """The content of `dataset.toml`. Without a `palette` the classes get the colours of PASCAL VOC.

    `ignore_index` is the value of pixels that have no class, and lies outside of the classes.
    """

    name: Name
    task: Literal["segmentation"] = "segmentation"
    classes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=255)]
    ignore_index: Byte = 255
    palette: tuple[tuple[Byte, Byte, Byte], ...] | None = None
    licence: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"the class {twice!r} is there twice; give each its own name")
        if self.ignore_index < len(self.classes):
            raise ValueError(
                f"ignore_index {self.ignore_index} is the class {self.classes[self.ignore_index]!r}; "
                f"choose one of {len(self.classes)} to 255"
            )
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        return self


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of one sample."""

    image: Path
    mask: Path


class FolderSplit:
    """One split; each sample is read from its files whenever it is asked for."""

    def __init__(self, name: str, pairs: tuple[Pair, ...], settings: FolderSettings) -> None:
        self.name = name
        self.pairs = pairs
        self._settings = settings

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Image H×W×3 uint8 and mask H×W uint8, named by their files' stem.

        Raises `IndexError` past the end, and `InputError` for a file that cannot be read, for a mask that has
        not its image's size, and for a value that is neither a class nor `ignore_index`.
        """
        pair = self.pairs[index]
        image, mask = read_image(pair.image), read_mask(pair.mask)
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"{_show(pair.mask)} is {mask.shape[1]}×{mask.shape[0]} pixels, expected {image.shape[1]}×"
                f"{image.shape[0]} like its image {pair.image.name!r}: make them the same size."
            )
        classes, ignored = len(self._settings.classes), self._settings.ignore_index
        wrong = mask[(mask >= classes) & (mask != ignored)]
        if wrong.size:
            values = np.unique(wrong)
            raise InputError(
                f"{_show(pair.mask)} has the value {_few(map(str, values))} in {wrong.size} pixels, expected 0 to "
                f"{classes - 1} or {ignored} (ignore): correct the mask, or classes and ignore_index in dataset.toml."
            )
        return Sample(pair.image.stem, image, mask)


class FolderDataset:
    """The data set in the folder `root`.

    Raises `InputError` where the folder, its `images` or a sound `dataset.toml` is missing or cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not _is_folder(root):
            raise InputError(f"{_show(root)} is not a folder, expected one with dataset.toml: check the path.")
        self.settings, self._toml = _read_settings(root / "dataset.toml")
        self.splits = _folders(root / "images")
        if not self.splits:
            raise InputError(
                f"{_show(root / 'images')} has no splits, expected folders such as images/train and images/val: "
                "sort the images into them."
            )
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.settings.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; a class's place is its value in the masks."""
        return self.settings.classes

    @property
    def ignore_index(self) -> int:
        """The value of pixels without a class."""
        return self.settings.ignore_index

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour for each class."""
        return self.settings.palette or voc_palette(len(self.classes))

    def split(self, name: str) -> FolderSplit:
        """The split of that name, sorted by stem.

        Raises `UsageError` where there is no such split, and `InputError` where it cannot be listed or has no
        images, or where an image has no mask or a mask no image.
        """
        return FolderSplit(name, self._pairs(name), self.settings)

    def digest(self, split: str) -> str:
        """Sha256, in hex, over dataset.toml and the split's files by path and content. Raises as `split`.

        A file's digest is kept in memory until its size or time changes.
        """
        total = hashlib.sha256(json.dumps(["dataset.toml", hashlib.sha256(self._toml).hexdigest()]).encode())
        files = [file for pair in self._pairs(split) for file in (pair.image, pair.mask)]
        for name, file in sorted((file.relative_to(self.root).as_posix(), file) for file in files):
            total.update(json.dumps([name, self._digest(file)]).encode())
        return total.hexdigest()

    def _digest(self, file: Path) -> str:
        try:
            status = file.stat()
            stamp = status.st_size, status.st_mtime_ns
            kept = self._digests.get(file)
            if kept is None or kept[0] != stamp:
                with open_regular(file) as content:
                    kept = stamp, hashlib.file_digest(content, "sha256").hexdigest()
                self._digests[file] = kept
        except OSError as error:
            raise InputError(f"{_show(file)} cannot be read ({error.strerror}): check the file.") from None
        return kept[1]

    def _pairs(self, name: str) -> tuple[Pair, ...]:
        if name not in self.splits:
            raise unknown_name(f"{self.name} split", name, self.splits)
        images = _by_stem(self.root / "images" / name, IMAGE_SUFFIXES)
        masks = _by_stem(self.root / "masks" / name, MASK_SUFFIXES)
        where = _show(self.root)
        if not images:
            raise InputError(
                f"{_show(self.root / 'images' / name)} has no images, expected {', '.join(IMAGE_SUFFIXES)} files: "
                "copy them there."
            )
        bare = [images[stem].name for stem in sorted(images.keys() - masks.keys())]
        if bare:
            raise InputError(
                f"{where} has {len(bare)} of {len(images)} images without a mask ({_few(bare)}), expected "
                f"masks/{name}/<same stem>.png for each: add the masks or remove the images."
            )
        orphans = [masks[stem].name for stem in sorted(masks.keys() - images.keys())]
        if orphans:
            raise InputError(
                f"{where} has {len(orphans)} of {len(masks)} masks without an image ({_few(orphans)}), expected "
                f"images/{name}/<same stem>.jpg or .png for each: add the images or remove the masks."
            )
        return tuple(Pair(images[stem], masks[stem]) for stem in sorted(images))


def voc_palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """The colour map of PASCAL VOC from its second colour on, as black is for ignored pixels."""
    colours = []
    for index in range(1, classes + 1):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)


def _read_settings(path: Path) -> tuple[FolderSettings, bytes]:
    values, content = read_toml(path, "a TOML file with name and classes")
    try:
        return FolderSettings.model_validate(values), content
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, FolderSettings)}") from None


def _is_folder(path: Path) -> bool:
    """As `Path.is_dir`, but also False for a name that is too long or may not be looked at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _folders(path: Path) -> tuple[str, ...]:
    if not _is_folder(path):
        return ()
    return tuple(entry.name for entry in _listed(path) if _is_folder(entry) and not entry.name.startswith("."))


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted. Raises `InputError`."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{_show(folder)} cannot be listed ({error.strerror}): make it readable.") from None


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files with these suffixes by stem; hidden ones, such as macOS's ._a.jpg, are none of the data set's."""
    found: dict[str, Path] = {}
    for file in _listed(folder) if _is_folder(folder) else ():
        if file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        if file.stem in found:
            raise InputError(
                f"{_show(folder)} has both {found[file.stem].name!r} and {file.name!r}, expected one file per stem: "
                "remove one."
            )
        found[file.stem] = file
    return found


def _few(names: Iterable[str]) -> str:
    """The first three."""
    every = list(names)
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def _show(path: Path) -> str:
    return repr(str(path))
