"""Photographs in the style of a painting: what is written where, what is kept, and what an interruption costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from kit.builds import Recorder
from kit.features import known
from kit.pictures import painting, photograph
from PIL import Image as Pillow

from visiondeploy.errors import EnvironmentMismatch, InputError, ResourceError, UsageError
from visiondeploy.models import features, gatys_scales
from visiondeploy.models.data.images import read_image
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.pipeline.store import Store
from visiondeploy.pipeline.stylising import Stylisings, stylise

SETTINGS = GatysSettings(features="tiny", size=96, scales=1, iterations=6, save_every=2)


class Stopped(Exception):
    """A run that ends before its time."""


class Watching(Recorder):
    """Events, which look at the working folder on the way; with `stop_after` the run dies after so many iterations."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        super().__init__()
        self.folder, self.stop_after = folder, stop_after
        self.iterations: list[str] = []
        self.previews: set[str] = set()

    def progress(self, done: int, total: int, note: str) -> None:
        self.iterations.append(note.split(" of ", maxsplit=1)[0])
        self.previews |= {path.name for path in self.folder.rglob("*.preview.jpg")}
        if len(self.iterations) == self.stop_after:
            raise Stopped


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """A feature network and a store of the test's own."""
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(tmp_path / "cache"))
    with known(tmp_path / "weights"):
        yield


@pytest.fixture
def room(tmp_path) -> Path:
    """A folder with a photograph and a painting."""
    room = tmp_path / "room"
    room.mkdir()
    Pillow.fromarray(photograph()).save(room / "photo.png")
    Pillow.fromarray(painting()).save(room / "painting.png")
    return room


def run(
    room: Path,
    source: str = "photo.png",
    target: str = "out.png",
    *,
    settings: GatysSettings = SETTINGS,
    style: str = "painting.png",
    existing: str = "refuse",
    stop_after: int | None = None,
) -> tuple[Stylisings, Watching]:
    events = Watching(room, stop_after)
    found = stylise(
        room / style,
        str(room / source),
        str(room / target),
        settings,
        threads=1,
        existing=existing,
        store=Store(room.parent / "cache", on_warning=events.warn),
        events=events,
    )
    return found, events


def names(room: Path) -> set[str]:
    return {path.name for path in room.iterdir()}


def test_the_picture_is_written_and_the_preview_is_gone(room) -> None:
    found, events = run(room)
    assert names(room) == {"photo.png", "painting.png", "out.png"}
    assert events.previews == {"out.preview.jpg"}
    assert events.told == [f"to watch: {room / 'out.preview.jpg'}"]
    assert len(events.iterations) == 6
    (picture,) = found.pictures
    assert read_image(room / "out.png").shape == (picture.height, picture.width, 3) == (64, 96, 3)
    assert not np.array_equal(read_image(room / "out.png"), photograph())
    assert events.notes["stylise"].startswith(f"{room / 'photo.png'}: content 0.")


def test_what_was_made_once_is_taken_from_the_store(room) -> None:
    run(room)
    first = (room / "out.png").read_bytes()
    again, events = run(room, target="again.png")
    assert (again.pictures[0].cached, events.iterations, events.told) == (True, [], [])
    assert (room / "again.png").read_bytes() == first
    # Other pixels, another painting or other settings are another picture.
    Pillow.fromarray(photograph()[:, ::-1]).save(room / "mirrored.png")
    Pillow.fromarray(painting()[::-1]).save(room / "upside down.png")
    assert not run(room, "mirrored.png", "a.png")[0].pictures[0].cached
    assert not run(room, target="b.png", style="upside down.png")[0].pictures[0].cached
    heavier = SETTINGS.model_copy(update={"style_weight": 2 * SETTINGS.style_weight})
    assert not run(room, target="c.png", settings=heavier)[0].pictures[0].cached


def test_an_interrupted_picture_is_gone_on_with_and_has_the_same_bytes(room) -> None:
    run(room, target="whole.png")
    (room.parent / "cache" / "artifacts").rename(room.parent / "elsewhere")
    with pytest.raises(Stopped):
        run(room, stop_after=5)
    # What was there of it is still to be seen.
    assert names(room) == {"photo.png", "painting.png", "whole.png", "out.preview.jpg"}
    _, events = run(room)
    assert events.iterations == ["iteration 5", "iteration 6"]
    assert (room / "out.png").read_bytes() == (room / "whole.png").read_bytes()
    assert not list((room.parent / "cache" / "work").iterdir())
    assert "out.preview.jpg" not in names(room)


def test_all_photographs_of_a_folder(room) -> None:
    photos = room / "photos"
    photos.mkdir()
    for name in ("b.png", "a.jpg"):
        Pillow.fromarray(photograph()).save(photos / name)
    found, events = run(room, "photos", "made")
    assert [Path(picture.output).name for picture in found.pictures] == ["a.jpg", "b.png"]
    assert names(room / "made") == {"a.jpg", "b.png"}
    assert events.previews == {"a.preview.jpg", "b.preview.jpg"}


def test_is_told_as_json(room) -> None:
    found, _ = run(room)
    told = json.loads(found.to_json())
    assert told["schema"] == "visiondeploy.stylised/1"
    assert told["settings"]["iterations"] == 6
    assert told["features"] == "tiny"
    assert told["weights"] == features.features_digest("tiny")
    (scale,) = told["pictures"][0]["scales"]
    assert scale.keys() == {"height", "width", "content", "style", "variation"}


class TestRefused:
    """Before anything is computed, and with the name of the file."""

    @pytest.mark.parametrize(
        ("which", "content", "message"),
        [
            ("photo.png", b"", r"photo.png' is empty \(0 bytes\)"),
            ("photo.png", b"not a picture", "photo.png' is not a picture"),
            ("painting.png", b"", r"painting.png' is empty \(0 bytes\)"),
            ("painting.png", b"\x89PNG\r\n\x1a\n", "painting.png' is not a picture"),
        ],
    )
    def test_a_file_that_is_no_picture(self, room, which, content, message) -> None:
        (room / which).write_bytes(content)
        with pytest.raises(InputError, match=message):
            run(room)
        assert names(room) == {"photo.png", "painting.png"}

    @pytest.mark.parametrize(("style", "source"), [("no.png", "photo.png"), ("painting.png", "no.png")])
    def test_a_file_that_is_missing(self, room, style, source) -> None:
        with pytest.raises(InputError, match=r"no\.png"):
            run(room, source, style=style)

    @pytest.mark.parametrize(
        ("which", "message"),
        [
            ("photo.png", r"photo\.png: the photograph is 20×40 pixels, expected at least 32"),
            ("painting.png", r"painting\.png: the painting is 20×40 pixels, expected at least 32"),
        ],
    )
    def test_a_picture_that_is_too_small(self, room, which, message) -> None:
        Pillow.fromarray(photograph(40, 20)).save(room / which)
        with pytest.raises(InputError, match=message):
            run(room)

    def test_a_folder_with_one_that_is_damaged(self, room) -> None:
        photos = room / "photos"
        photos.mkdir()
        Pillow.fromarray(photograph()).save(photos / "a.png")
        (photos / "b.png").write_bytes(b"")
        with pytest.raises(InputError, match=r"b\.png' is empty"):
            run(room, "photos", "made")
        assert "made" not in names(room)

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no/out.png", "there is no folder"),
            ("out.xyz", "out.xyz"),
            ("photo.png", "is the input itself"),
            ("there.png", "would be overwritten: add --overwrite"),
        ],
    )
    def test_a_target_that_cannot_be_meant(self, room, target, message) -> None:
        (room / "there.png").write_bytes(b"somebody's")
        with pytest.raises(UsageError, match=message):
            run(room, target=target)
        assert (room / "there.png").read_bytes() == b"somebody's"

    def test_a_picture_that_would_not_fit_the_memory(self, room, monkeypatch) -> None:
        monkeypatch.setattr(gatys_scales, "available_memory", lambda: 10**9)
        with pytest.raises(ResourceError, match=r"1024×683 pixels takes about 4\.2 GB of memory, and 1\.0 GB are free"):
            run(room, settings=SETTINGS.model_copy(update={"size": 1024}))
        assert run(room)[0].pictures

    def test_features_that_do_not_exist_or_whose_weights_are_not_here(self, room) -> None:
        with pytest.raises(UsageError, match="no feature network 'vgg20': did you mean 'vgg"):
            run(room, settings=GatysSettings(features="vgg20"))
        with pytest.raises(EnvironmentMismatch, match="deploy weights fetch vgg19"):
            run(room, settings=GatysSettings(features="vgg19"))
