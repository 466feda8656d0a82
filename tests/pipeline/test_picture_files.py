"""Which file becomes which, and how pictures are written."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from visiondeploy.errors import InputError, ResourceError, UsageError
from visiondeploy.models.data.images import read_image, read_mask
from visiondeploy.pipeline.picture_files import FORMATS, STANDARD, Errand, encoded, errands

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PALETTE = ((10, 0, 0), (0, 20, 0), (0, 0, 30))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with two photographs, and beside them what is none."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    (photos / "more.png").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
        (photos / name).write_bytes(encoded(PICTURE, ".png"))
    return tmp_path


def planned(source: str, target: str, kind: str = "picture", existing: str = "refuse") -> list[tuple[str, str]]:
    return [
        (str(errand.source), str(errand.target)) for errand in errands(source, target, kind=kind, existing=existing)
    ]


class Stream(io.TextIOWrapper):
    """A standard stream of bytes that may say it is a terminal."""

    def __init__(self, data: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class TestOneImage:
    def test_becomes_the_file_that_is_named(self, here) -> None:
        assert planned("photos/a.png", "out.webp") == [("photos/a.png", "out.webp")]

    @pytest.mark.parametrize(
        ("kind", "name"), [("picture", "b.JPG"), ("colours", "b.png"), ("numbers", "b.png")], ids=str
    )
    def test_keeps_its_name_in_a_folder(self, here, kind, name) -> None:
        (here / "out").mkdir()
        assert planned("photos/b.JPG", "out", kind) == [("photos/b.JPG", f"out/{name}")]

    def test_without_a_suffix_becomes_png(self, here) -> None:
        (here / "out").mkdir()
        (here / "photo").write_bytes(encoded(PICTURE, ".png"))
        assert planned("photo", "out") == [("photo", "out/photo.png")]

    @pytest.mark.parametrize(
        ("source", "target", "error", "words"),
        [
            (
                "nowhere.png",
                "out.png",
                InputError,
                "there is no 'nowhere.png': give an image, a folder of images, or -",
            ),
            ("x" * 300, "out.png", InputError, "there is no 'xxx"),
            ("photos/a.png", "out.gif", UsageError, "does not end as a picture's name: give it one of .png, .jpg"),
            ("photos/a.png", "out", UsageError, "or name a folder that exists"),
            ("photos/a.png", "miss/out.png", UsageError, "there is no folder miss: make it first"),
            ("photos/a.png", "photos/a.png/x.png", UsageError, "there is no folder photos/a.png"),
            ("photos/a.png", "photos/a.png", UsageError, "is the input itself, which is never overwritten"),
            ("photos/a.png", "photos/../photos/a.png", UsageError, "is the input itself"),
            ("photos/a.png", "photos", UsageError, "is the input itself"),
            ("photos/a.png", "photos/b.JPG", UsageError, "would be overwritten: add --overwrite, or --keep"),
            ("photos/a.png", "/proc/out.png", ResourceError, "choose another folder with -o"),
        ],
    )
    def test_has_to_be_there_and_to_have_a_place(self, here, source, target, error, words) -> None:
        before = sorted(here.rglob("*"))
        with pytest.raises(error, match=words):
            planned(source, target)
        assert sorted(here.rglob("*")) == before

    def test_class_numbers_are_lossless(self, here) -> None:
        with pytest.raises(UsageError, match=r"cannot hold class numbers unchanged: name a file that ends with \.png"):
            planned("photos/a.png", "out.jpg", "numbers")
        assert planned("photos/a.png", "out.jpg", "colours") == [("photos/a.png", "out.jpg")]

    def test_is_never_overwritten_under_another_name(self, here) -> None:
        os.link(here / "photos" / "a.png", here / "link.png")
        (here / "symbolic.png").symlink_to("photos/a.png")
        for target in ("link.png", "symbolic.png"):
            with pytest.raises(UsageError, match="is the input itself"):
                planned("photos/a.png", target, existing="overwrite")

    def test_a_fifo_is_never_overwritten(self, here) -> None:
        os.mkfifo(here / "pipe.png")
        with pytest.raises(UsageError, match="is no regular file"):
            planned("photos/a.png", "pipe.png", existing="overwrite")

    def test_what_is_there_is_overwritten_or_kept_on_request(self, here) -> None:
        assert len(planned("photos/a.png", "photos/b.JPG", existing="overwrite")) == 1
        assert planned("photos/a.png", "photos/b.JPG", existing="keep") == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_may_not_be_written(self, here) -> None:
        (here / "closed").mkdir(mode=0o500)
        with pytest.raises(ResourceError, match="permission denied"):
            planned("photos/a.png", "closed/out.png")


class TestFolder:
    def test_its_images_keep_their_names(self, here) -> None:
        assert planned("photos", "out") == [("photos/a.png", "out/a.png"), ("photos/b.JPG", "out/b.JPG")]
        assert not (here / "out").exists()

    def test_classes_become_png(self, here) -> None:
        assert [target for _, target in planned("photos", "out", "colours")] == ["out/a.png", "out/b.png"]

    def test_only_what_is_missing(self, here) -> None:
        (here / "out").mkdir()
        (here / "out" / "a.png").write_text("mine")
        assert planned("photos", "out", existing="keep") == [("photos/b.JPG", "out/b.JPG")]
        assert len(planned("photos", "out", existing="overwrite")) == 2
        (here / "out" / "b.JPG").write_text("mine")
        with pytest.raises(UsageError, match=r"out/a\.png and 1 more would be overwritten"):
            planned("photos", "out")

    @pytest.mark.parametrize(
        ("source", "target", "error", "words"),
        [
            ("empty", "out", InputError, "empty has no images, expected files that end with .png, .jpg"),
            ("photos", "-", UsageError, "stdout takes one picture: name a folder with -o"),
            ("photos", "photos", UsageError, "is the folder of the images: choose another"),
            ("photos", "photos/../photos", UsageError, "is the folder of the images"),
            ("photos", "file", ResourceError, "file is a file, but a folder is needed there"),
            ("photos", "/proc/out", ResourceError, "choose another folder with -o"),
        ],
    )
    def test_needs_images_and_a_folder_of_its_own(self, here, source, target, error, words) -> None:
        (here / "empty").mkdir()
        (here / "empty" / "readme.txt").touch()
        (here / "file").touch()
        with pytest.raises(error, match=words):
            planned(source, target)

    def test_two_images_of_one_name_are_refused(self, here) -> None:
        (here / "photos" / "a.jpg").write_bytes(b"")
        assert len(planned("photos", "out")) == 3
        with pytest.raises(UsageError, match=r"photos/a.jpg and photos/a.png would both become out/a.png: rename one"):
            planned("photos", "out", "colours")


class TestStreams:
    def test_stdin_and_stdout(self, here, monkeypatch) -> None:
        monkeypatch.setattr(sys, "stdin", Stream(encoded(PICTURE, ".png")))
        monkeypatch.setattr(sys, "stdout", Stream())
        (errand,) = errands(STANDARD, STANDARD, kind="picture", existing="refuse")
        assert errand.name == "stdin"
        assert np.array_equal(errand.read(), PICTURE)
        errand.write(255 - PICTURE)
        data = sys.stdout.buffer.getvalue()
        assert data.startswith(b"\x89PNG")
        assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(data))), 255 - PICTURE)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", r"stdin is empty \(0 bytes\), expected a JPEG, PNG"),
            (b"GIF89a", "stdin is not a picture"),
            (encoded(PICTURE, ".png")[:60], "stdin is damaged"),
        ],
    )
    def test_what_is_no_image(self, monkeypatch, data, words) -> None:
        monkeypatch.setattr(sys, "stdin", Stream(data))
        with pytest.raises(InputError, match=words):
            Errand(None, None).read()

    def test_stdin_without_end(self, monkeypatch) -> None:
        monkeypatch.setattr("visiondeploy.pipeline.picture_files.LARGEST_STREAM", 10)
        monkeypatch.setattr(sys, "stdin", Stream(bytes(11)))
        with pytest.raises(InputError, match="stdin has more than"):
            Errand(None, None).read()

    def test_terminals_are_not_for_pictures(self, here, monkeypatch) -> None:
        monkeypatch.setattr(sys, "stdin", Stream(terminal=True))
        with pytest.raises(UsageError, match="stdin is a terminal"):
            planned(STANDARD, "out.png")
        monkeypatch.setattr(sys, "stdout", Stream(terminal=True))
        with pytest.raises(UsageError, match="stdout is a terminal"):
            planned("photos/a.png", STANDARD)

    def test_a_folder_gives_stdin_no_name(self, here, monkeypatch) -> None:
        monkeypatch.setattr(sys, "stdin", Stream())
        with pytest.raises(UsageError, match="what comes from stdin has no name"):
            planned(STANDARD, "photos")


class TestFiles:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_each_suffix_is_a_format(self, tmp_path, suffix) -> None:
        path = tmp_path / f"new/out{suffix.upper()}"
        picture = np.kron(PICTURE // 16 + 100, np.ones((8, 8, 1), dtype=np.uint8))
        Errand(None, path).write(picture)
        assert np.abs(read_image(path).astype(int) - picture).max() <= (
            0 if suffix not in {".jpg", ".jpeg", ".webp"} else 24
        )
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("values", [[0, 1, 2], [0, 1, 77, 255]])
    def test_class_numbers_come_back_also_where_they_are_no_class(self, tmp_path, values) -> None:
        numbers = np.array([values], dtype=np.uint8)
        Errand(None, tmp_path / "out.png").write(numbers, PALETTE)
        assert np.array_equal(read_mask(tmp_path / "out.png"), numbers)
        wanted = [PALETTE[value] if value < len(PALETTE) else (0, 0, 0) for value in values]
        assert read_image(tmp_path / "out.png")[0].tolist() == [list(colour) for colour in wanted]

    def test_what_was_there_stays_where_writing_fails(self, tmp_path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ResourceError, match="file is not a folder, but one is needed"):
            Errand(None, tmp_path / "file" / "out.png").write(PICTURE)
        path = tmp_path / "wide.webp"
        path.write_text("mine")
        with pytest.raises(UsageError, match=r"20000×1 pixels cannot be written as WEBP .*\.png"):
            Errand(None, path).write(np.zeros((1, 20000, 3), dtype=np.uint8))
        assert path.read_text() == "mine"
        assert {entry.name for entry in tmp_path.iterdir()} == {"file", "wide.webp"}
