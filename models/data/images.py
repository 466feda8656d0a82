"""Reading pictures and masks from files that others made, with Pillow.

What a file is is checked before it is decoded: it must be a regular file, in one of the formats below,
and its header must stay within a budget of pixels, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from visiondeploy.errors import InputError
from visiondeploy.types import Array, Image

MAX_PIXELS = 64 * 10**6

# Named, because Pillow would also start Ghostscript for an EPS. JPEG includes MPO, which some telephones write.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_IMAGE = f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture of a file, H×W×3 uint8 RGB, as a viewer shows it; the array belongs to the caller.

    The rotation in EXIF is applied. Grey and palette become RGB; CMYK is converted without its colour
    profile; of 16 bits the upper 8 are kept; transparent parts are laid on white, as on a page. Of several
    frames the first is read.

    Raises `InputError` for a file that is missing, empty, damaged, of another kind, of 32 bits per channel, or
    of more than `max_pixels`.
    """
    return _read(path, _IMAGE, max_pixels, _rgb)


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """As `read_image`, for the bytes of a file that errors are to call `name`."""
    if not data:
        raise _empty(name, _IMAGE)
    return _decode(lambda: io.BytesIO(data), name, _IMAGE, max_pixels, _rgb)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> Array:
    """The mask of a PNG file, H×W uint8, the value of a pixel being its class; the array belongs to the caller.

    One channel of 1, 8 or 16 bits, or the indices of a palette, whose colours do not matter. The rotation in
    EXIF is applied, as to images.

    Raises `InputError` as `read_image`, and for another format, for colours, alpha and values above 255.
    """
    return _read(path, "a PNG mask", max_pixels, _indices)


def _read(path: Path, wanted: str, max_pixels: int, convert: Callable[[ImageFile, str], Array]) -> Array:
    shown = repr(str(path))
    _check_file(path, shown, wanted)
    return _decode(lambda: path.open("rb"), shown, wanted, max_pixels, convert)


def _decode(
    open_file: Callable[[], BinaryIO],
    shown: str,
    wanted: str,
    max_pixels: int,
    convert: Callable[[ImageFile, str], Array],
) -> Array:
    try:
        with open_file() as file, _open(file) as picture:
            _check_size(picture, shown, max_pixels)
            return convert(picture, shown)
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{shown} may not be read, expected {wanted}: change its permissions.") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{shown} is not a picture, or its beginning is damaged, expected {wanted}: convert or remove it."
        ) from None
    except Pillow.DecompressionBombError:
        # Pillow's own limit, which lies above our default, is checked before we see the size.
        found = f"has more than {2 * (Pillow.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"
        raise _too_large(shown, found, max_pixels) from None
    # On damaged files Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, struct.error…
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{shown} is damaged ({reason}), expected {wanted}: copy the file again or remove it."
        ) from error


def _check_file(path: Path, shown: str, wanted: str) -> None:
    try:
        regular, size = path.is_file(), path.stat().st_size
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{shown} cannot be opened ({reason}), expected {wanted}: check the path.") from None
    if not regular:
        raise InputError(f"{shown} is not a regular file, expected {wanted}: check the path.")
    if size == 0:
        raise _empty(shown, wanted)


def _empty(shown: str, wanted: str) -> InputError:
    return InputError(f"{shown} is empty (0 bytes), expected {wanted}: copy the file again or remove it.")


def _open(file: BinaryIO) -> ImageFile:
    """Reads the header only."""
    with warnings.catch_warnings():
        # We have our own budget, and raise where Pillow warns.
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        return Pillow.open(file, formats=FORMATS)


def _check_size(picture: ImageFile, shown: str, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(shown, f"is {width}×{height} pixels", max_pixels)


def _too_large(shown: str, found: str, max_pixels: int) -> InputError:
    return InputError(f"{shown} {found}, expected at most {max_pixels / 1e6:g} megapixels: shrink it first.")


def _rgb(picture: ImageFile, shown: str) -> Image:
    if picture.mode in ("I", "F"):
        raise InputError(f"{shown} has 32 bits per channel, expected 8 or 16: convert it to 8 bits.")
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16"):
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.has_transparency_data:
        page = Pillow.new("RGBA", picture.size, "white")
        page.alpha_composite(picture.convert("RGBA"))
        return np.array(page.convert("RGB"))
    return np.array(picture.convert("RGB"))


def _indices(picture: ImageFile, shown: str) -> Array:
    if picture.format != "PNG":
        raise InputError(f"{shown} is a {picture.format} file, expected a PNG mask: save it as PNG, which is lossless.")
    channels = picture.getbands()
    if len(channels) != 1 or picture.mode in ("I", "F"):
        raise InputError(
            f"{shown} has the channels {', '.join(channels)}, expected one whose value is the class: "
            "convert its colours to class numbers."
        )
    if picture.mode == "L" and picture.tile[0].args in ("L;2", "L;4"):
        # Pillow would stretch these to 0…255, and nothing tells whether the writer meant that.
        raise InputError(f"{shown} is grey with fewer than 8 bits, expected 8: save it again with 8 bits per pixel.")
    ImageOps.exif_transpose(picture, in_place=True)
    mask = np.array(picture)
    if mask.max() > np.iinfo(np.uint8).max:
        raise InputError(f"{shown} has the value {mask.max()}, expected classes of 0 to 255: check how it was made.")
    return mask.astype(np.uint8, copy=False)
