"""Pictures from files and into files: which one becomes which, and how it is read and written.

All that can be known beforehand is checked before anything is computed: that there is something to read, that every
file can be written, that none is one of the inputs, that nobody's file is overwritten unasked.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.data.images import decode_image, read_image
from visiondeploy.pipeline.files import resource_error, write_atomic
from visiondeploy.pipeline.folder import check_place
from visiondeploy.types import Array, Image

STANDARD = "-"
"""The name of stdin and stdout."""

PNG = ".png"
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    PNG: ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"quality": 95}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
}
"""Pillow's name and settings for a file of each suffix."""

Kind = Literal["picture", "colours", "numbers"]
"""What pixels are: of a picture, flat colours that a lossy format would mix, or numbers that only PNG will do for."""

Existing = Literal["refuse", "keep", "overwrite"]
"""What is done about files that are already there."""

LARGEST_STREAM = 1 << 30
"""Bytes of a picture that are taken from stdin: more than the largest that is read has without compression."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A picture to be made: of what file, stdin where that is None, into what file, stdout where that is None."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """The source, as people call it."""
        return "stdin" if self.source is None else str(self.source)

    def read(self) -> Image:
        """The picture, H×W×3 uint8 RGB, turned as its EXIF says. Raises `InputError`."""
        return decode_image(_stdin(), "stdin") if self.source is None else read_image(self.source)

    def write(self, picture: Array, palette: Sequence[tuple[int, int, int]] = ()) -> None:
        """Write an RGB picture H×W×3 uint8, or numbers of the palette's colours H×W uint8; whole or not at all.

        Raises `ResourceError`.
        """
        if self.target is None:
            sys.stdout.buffer.write(encoded(picture, PNG, palette))
            sys.stdout.buffer.flush()
            return
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise resource_error(error, self.target.parent, "choose another folder with -o") from error
        write_atomic(self.target, encoded(picture, self.target.suffix.lower(), palette))


def encoded(picture: Array, suffix: str, palette: Sequence[tuple[int, int, int]] = ()) -> bytes:
    """The bytes of a file of that suffix: of H×W×3 uint8 RGB, or of H×W uint8 with a palette, as `Errand.write`.

    Raises `UsageError` for a picture that the format does not hold: JPEG ends at 65535 pixels, WebP at 16383.
    """
    image = Pillow.fromarray(picture)
    if palette:
        # All 256: with fewer Pillow writes fewer bits, which a number that is no class would not fit.
        colours = np.zeros((256, 3), dtype=np.uint8)
        colours[: len(palette)] = palette
        image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    kind, settings = FORMATS[suffix]
    try:
        image.save(buffer, kind, **settings)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"a picture of {image.width}×{image.height} pixels cannot be written as {kind} ({error}): name a file that "
            f"ends with {PNG}."
        ) from error
    return buffer.getvalue()


def errands(source: str, target: str, *, kind: Kind, existing: Existing) -> tuple[Errand, ...]:
    """What is to be made of an image, the images in a folder, or "-" for stdin: a file, a folder, or "-" for stdout.

    In a folder pictures keep the input's name and format, colours and numbers become PNG. Raises `InputError` where
    there is nothing to read, `UsageError` for a target that cannot be meant, `ResourceError` for one that cannot be
    written.
    """
    place = Path(target)
    if source != STANDARD and _is_folder(Path(source)):
        if target == STANDARD:
            raise UsageError(f"{source} is a folder, and stdout takes one picture: name a folder with -o.")
        found = _folder(Path(source), place, kind=kind)
    else:
        found = (Errand(_one(source), _target(source, target, kind=kind)),)
    return _permitted(found, existing)


def _one(source: str) -> Path | None:
    if source != STANDARD:
        if not os.path.lexists(source):
            raise InputError(f"there is no {source!r}: give an image, a folder of images, or - for stdin.")
        return Path(source)
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal, and an image was to come from there: pipe one in, or name a file.")
    return None


def _target(source: str, target: str, *, kind: Kind) -> Path | None:
    """Where the picture of one image goes."""
    if target == STANDARD:
        if sys.stdout.isatty():
            raise UsageError("stdout is a terminal, and a PNG was to go there: pipe it on, or name a file with -o.")
        return None
    place = Path(target)
    if _is_folder(place):
        if source == STANDARD:
            raise UsageError(f"{target} is a folder, and what comes from stdin has no name: name a file with -o.")
        check_place(place)
        return place / _name(Path(source), kind=kind)
    if place.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{target} does not end as a picture's name: give it one of {_listed(FORMATS)}, or name a folder that "
            "exists."
        )
    if kind == "numbers" and place.suffix.lower() != PNG:
        raise UsageError(f"{target} cannot hold class numbers unchanged: name a file that ends with {PNG}.")
    if not _is_folder(place.parent):
        raise UsageError(f"{target} cannot be written, there is no folder {place.parent}: make it first.")
    # Of a file that is new the folder is tried out, too.
    check_place(place.parent if os.path.lexists(place) else place)
    return place


def _folder(source: Path, target: Path, *, kind: Kind) -> tuple[Errand, ...]:
    check_place(target)
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the folder of the images: choose another with -o.")
    try:
        inside = sorted(source.iterdir())
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}; change its permissions.") from error
    images = [path for path in inside if path.suffix.lower() in FORMATS and not path.name.startswith(".")]
    images = [path for path in images if not path.is_dir()]
    if not images:
        raise InputError(f"{source} has no images, expected files that end with {_listed(FORMATS)}.")
    found = tuple(Errand(path, target / _name(path, kind=kind)) for path in images)
    often = Counter(errand.target for errand in found)
    for twice in (errand for errand in found if often[errand.target] > 1):
        names = " and ".join(errand.name for errand in found if errand.target == twice.target)
        raise UsageError(f"{names} would both become {twice.target}: rename one.")
    return found


def _name(source: Path, *, kind: Kind) -> str:
    """The input's name, with a suffix in whose format the picture can be written."""
    kept = kind == "picture" and source.suffix.lower() in FORMATS
    return source.name if kept else source.with_suffix(PNG).name


def _permitted(found: tuple[Errand, ...], existing: Existing) -> tuple[Errand, ...]:
    """The errands without those that are done, where files are to be kept. Raises `UsageError`."""
    sources = {_identity(errand.source) for errand in found if errand.source and errand.source.exists()}
    there: list[Path] = []
    for target in (errand.target for errand in found if errand.target):
        if not os.path.lexists(target):
            continue
        if target.exists() and _identity(target) in sources:
            raise UsageError(f"{target} is the input itself, which is never overwritten: choose another with -o.")
        if target.exists() and not target.is_file():
            raise UsageError(f"{target} is there and is no regular file: choose another with -o.")
        there.append(target)
    if there and existing == "refuse":
        others = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{others} would be overwritten: add --overwrite, or --keep to make only what is missing, or "
            "choose another place with -o."
        )
    kept = set(there) if existing == "keep" else set()
    return tuple(errand for errand in found if errand.target not in kept)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no file can have
        return False


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _stdin() -> bytes:
    try:
        data = sys.stdin.buffer.read(LARGEST_STREAM + 1)
    except OSError as error:
        raise InputError(f"stdin cannot be read: {error.strerror or error}; pipe an image in.") from error
    if len(data) > LARGEST_STREAM:
        raise InputError(f"stdin has more than {LARGEST_STREAM >> 30} GB, expected an image: shrink it first.")
    return data


def _listed(names: Sequence[str] | dict[str, Any]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
