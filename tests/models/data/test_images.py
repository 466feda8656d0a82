import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.datasets import png
from PIL import Image as Pillow

from visiondeploy.errors import InputError
from visiondeploy.models.data.images import decode_image, read_image, read_mask
from visiondeploy.types import Image

PIXELS: Image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def encoded(format: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.kron(PIXELS, np.ones((8, 8, 1), dtype=np.uint8))).convert(mode).save(buffer, format)
    return buffer.getvalue()


def complaint(path: Path, read=read_image) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    sentence = str(caught.value)
    assert repr(str(path)) in sentence, "names the file"
    assert "expected" in sentence
    assert ": " in sentence, "says what to do"
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_reads_the_pixels_of_a_lossless_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a picture.{suffix}"
    Pillow.fromarray(PIXELS).save(path, **({"lossless": True} if suffix == "webp" else {}))
    found = read_image(path)
    assert np.array_equal(found, PIXELS)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: np.rot90,
    }[orientation]
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    mask = PIXELS[..., 0] % 3
    Pillow.fromarray(PIXELS).save(tmp_path / "image.png", exif=exif)
    Pillow.fromarray(mask).save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "image.png"), turned(PIXELS))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), turned(mask))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    picture = Pillow.new("RGB", (4, 3), (255, 255, 255)).convert(mode)
    picture.save(tmp_path / "white.tiff")
    found = read_image(tmp_path / "white.tiff")
    assert found.shape == (3, 4, 3)
    assert (found == 255).all()


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    Pillow.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - (200, 40, 90)).max() <= 4


def test_a_telephones_mpo_is_a_jpeg(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (16, 16), (50, 50, 50))
    picture.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[Pillow.new("RGB", (16, 16))])
    assert np.abs(read_image(tmp_path / "phone.jpg").astype(int) - 50).max() <= 2


def test_of_16_bits_the_upper_8_are_kept(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[0, 0x00FF, 0x1234, 0xFFFF]], dtype=np.uint16)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png")[0, :, 1].tolist() == [0, 0, 0x12, 0xFF]
    (tmp_path / "rgb.png").write_bytes(png(1, 1, 16, 2, b"\0" + b"\x12\x34\x56\x78\x9a\xbc"))
    assert read_image(tmp_path / "rgb.png").tolist() == [[[0x12, 0x56, 0x9A]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_lie_on_white(tmp_path: Path, mode: str) -> None:
    picture = Pillow.new(mode, (3, 1))
    black = (0,) * (len(mode) - 1)
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (*black, alpha))
    picture.save(tmp_path / "alpha.png")
    assert read_image(tmp_path / "alpha.png")[0, :, 0].tolist() == [255, 127, 0]


def test_a_transparent_colour_of_a_palette_lies_on_white(tmp_path: Path) -> None:
    picture = Pillow.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png", transparency=0)
    assert read_image(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_a_single_pixel_is_a_picture(tmp_path: Path) -> None:
    Pillow.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert read_image(tmp_path / "dot.png").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(("width", "height"), [(65535, 65535), (10000, 10000), (8001, 8000)])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(width, height, 8, 2, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "at most 64 megapixels" in complaint(tmp_path / "bomb.png")
        assert "at most 64 megapixels" in complaint(tmp_path / "bomb.png", read_mask)


def test_the_budget_can_be_set_and_includes_its_own_size(tmp_path: Path) -> None:
    Pillow.fromarray(PIXELS).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=35).shape == PIXELS.shape
    with pytest.raises(InputError, match="7×5 pixels"):
        read_image(tmp_path / "a.png", max_pixels=34)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_half_a_file_is_refused(tmp_path: Path, format: str) -> None:
    content = encoded(format)
    path = tmp_path / "half"
    path.write_bytes(content[: len(content) // 2])
    complaint(path)


def test_what_is_not_a_picture_is_named(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.jpg", tmp_path / "two\nlines.png"
    empty.touch()
    text.write_text("hello")
    assert "is empty (0 bytes)" in complaint(empty)
    assert "is not a picture" in complaint(text)
    assert "not a regular file" in complaint(tmp_path)
    assert "No such file" in complaint(tmp_path / "missing.png")
    complaint(tmp_path / ("x" * 300))
    complaint(tmp_path / "nul\0byte")


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in complaint(tmp_path / "pipe.png")


def test_32_bits_are_refused(tmp_path: Path) -> None:
    Pillow.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "float.tiff")
    assert "32 bits" in complaint(tmp_path / "float.tiff")


@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "WEBP"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
    kept=st.floats(0, 1),
)
def test_a_damaged_file_is_a_picture_or_an_input_error(tmp_path_factory, format, flips, kept) -> None:
    content = bytearray(encoded(format))
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(content[: int(kept * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_image(path, max_pixels=10**6)
        except InputError:
            return
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3


class TestMask:
    def test_is_the_value_of_each_pixel(self, tmp_path: Path) -> None:
        values = np.array([[0, 1, 10], [11, 254, 255]], dtype=np.uint8)
        Pillow.fromarray(values).save(tmp_path / "mask.png")
        found = read_mask(tmp_path / "mask.png")
        assert np.array_equal(found, values)
        assert found.dtype == np.uint8

    @pytest.mark.parametrize("colours", [2, 4, 16, 256])
    def test_is_the_index_and_not_the_colour_of_a_palette(self, tmp_path: Path, colours: int) -> None:
        values = np.arange(colours, dtype=np.uint8)[None]
        picture = Pillow.fromarray(values)
        picture.putpalette([255 - channel % 256 for channel in range(3 * colours)])
        picture.save(tmp_path / "mask.png")
        assert np.array_equal(read_mask(tmp_path / "mask.png"), values)

    def test_of_one_bit_is_0_and_1(self, tmp_path: Path) -> None:
        Pillow.fromarray(np.array([[False, True]])).save(tmp_path / "mask.png")
        found = read_mask(tmp_path / "mask.png")
        assert found.tolist() == [[0, 1]]
        assert found.dtype == np.uint8

    def test_of_16_bits_must_fit_into_8(self, tmp_path: Path) -> None:
        Pillow.fromarray(np.array([[3, 255]], dtype=np.uint16)).save(tmp_path / "fits.png")
        assert read_mask(tmp_path / "fits.png").tolist() == [[3, 255]]
        Pillow.fromarray(np.array([[3, 256]], dtype=np.uint16)).save(tmp_path / "large.png")
        assert "the value 256" in complaint(tmp_path / "large.png", read_mask)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_of_colours_is_refused(self, tmp_path: Path, mode: str) -> None:
        Pillow.new(mode, (2, 2)).save(tmp_path / "mask.png")
        assert ", ".join(mode) in complaint(tmp_path / "mask.png", read_mask)

    @pytest.mark.parametrize(("depth", "row"), [(2, b"\0\x1b"), (4, b"\0\x01\x23")])
    def test_of_2_or_4_bits_grey_is_refused_as_it_would_be_stretched(self, tmp_path: Path, depth: int, row: bytes):
        (tmp_path / "mask.png").write_bytes(png(4, 1, depth, 0, row))
        assert "fewer than 8 bits" in complaint(tmp_path / "mask.png", read_mask)

    def test_of_a_lossy_format_is_refused(self, tmp_path: Path) -> None:
        Pillow.new("L", (8, 8)).save(tmp_path / "mask.jpg")
        assert "lossless" in complaint(tmp_path / "mask.jpg", read_mask)


def test_bytes_are_read_as_a_file_with_them_is(tmp_path: Path) -> None:
    for data in (encoded("PNG"), encoded("JPEG"), encoded("PNG", "RGBA")):
        (tmp_path / "image").write_bytes(data)
        assert np.array_equal(decode_image(data, "stdin"), read_image(tmp_path / "image"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "stdin is empty (0 bytes), expected a JPEG, PNG, BMP, TIFF or WEBP image: "),
        (b"GIF89a", "stdin is not a picture"),
        (encoded("JPEG")[:400], "stdin is damaged"),
        (png(65535, 65535, 8, 2, b""), "expected at most 64 megapixels"),
    ],
)
def test_so_are_their_faults(data: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_image(data, "stdin")
    assert str(caught.value).startswith("stdin ")
    assert words in str(caught.value)
