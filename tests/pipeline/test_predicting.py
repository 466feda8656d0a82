"""`predict` with engines of a tiny build, on files as people have them."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kit.builds import House, Recorder, contents, flip
from kit.datasets import png
from PIL import Image as Pillow

from visiondeploy.errors import InputError, IntegrityError, ResourceError, UsageError
from visiondeploy.models.data.images import read_image, read_mask
from visiondeploy.pipeline.folder import BUILD
from visiondeploy.pipeline.picturing import Output
from visiondeploy.pipeline.predicting import Predictions, engine_at, predict

SIZES = {"wide.jpg": (40, 100), "tall.png": (90, 31), "dot.png": (1, 1), "as it is.webp": (32, 48)}


@pytest.fixture(scope="module")
def built(store_root, tmp_path_factory) -> Path:
    """A working folder with builds and photographs. The first build says that it was measured."""
    room = House(store_root, tmp_path_factory.mktemp("predict"))
    _as_measured(room.build(until="compile").folder / BUILD)
    room.build("export.io=uint8", "backend=onnxruntime", out=Path("builds/raw"), until="compile")
    room.build(out=Path("builds/graph"), until="export")
    photos = room.cwd / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for name, size in SIZES.items():
        Pillow.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(photos / name)
    return room.cwd


def _as_measured(path: Path) -> None:
    """A measurement takes longer than all of these tests; of what it leaves two entries matter here."""
    found = json.loads(path.read_text(encoding="utf-8"))
    engine = found["build"]["engines"][0]
    found["build"] |= {"engine": "onnxruntime", "baseline": {**engine, "backend": "pytorch", "folder": "network"}}
    path.write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture
def out(built, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(built)
    return tmp_path


def run(source: str, target: Path | str, build: str = "builds/toy-fp32", **given) -> Predictions:
    given = {
        "output": None,
        "backend": None,
        "tile": None,
        "batch": None,
        "threads": None,
        "existing": "refuse",
        "events": Recorder(),
    } | given
    return predict(Path(build), source, str(target), **given)


class TestEngines:
    def test_of_a_measured_build_it_is_the_fastest(self, built) -> None:
        assert engine_at(built / "builds" / "toy-fp32", None).name == "engines/onnxruntime"

    def test_of_one_that_was_not_measured_it_is_the_first(self, built) -> None:
        assert engine_at(built / "builds" / "raw", None).name == "engines/onnxruntime"

    @pytest.mark.parametrize(
        ("path", "backend", "name"),
        [
            ("toy-fp32", "onnxruntime", "engines/onnxruntime"),
            ("toy-fp32", "pytorch", "network"),
            ("toy-fp32/engines/openvino", None, "engines/openvino"),
            ("toy-fp32/engines/openvino", "openvino", "engines/openvino"),
            ("toy-fp32/onnx-fp32", None, "onnx-fp32"),
            ("graph/onnx-fp32", "onnxruntime", "onnx-fp32"),
        ],
    )
    def test_or_the_one_that_is_named(self, built, path, backend, name) -> None:
        assert engine_at(built / "builds" / path, backend).name == name

    @pytest.mark.parametrize(
        ("path", "backend", "error", "words"),
        [
            ("toy-fp32", "openvin", UsageError, "did you mean 'openvino'"),
            ("toy-fp32", "torchscript", UsageError, "there is no engine of .* for backend 'torchscript'"),
            ("toy-fp32/engines/openvino", "onnxruntime", UsageError, "runs on openvino, not on onnxruntime"),
            ("toy-fp32/network", None, InputError, "holds neither an ONNX file nor an engine"),
            ("graph", None, UsageError, "ends with stage 'export' and has no engine"),
            ("nothing", None, InputError, "is no build"),
        ],
    )
    def test_what_is_not_there_is_said(self, built, path, backend, error, words) -> None:
        with pytest.raises(error, match=words):
            engine_at(built / "builds" / path, backend)


class TestCheckpoints:
    def test_the_network_alone_gives_what_its_engine_gives(self, out) -> None:
        run("photos/wide.jpg", out / "network.png", build="builds/toy-fp32/network", output=Output.CLASSES)
        run("photos/wide.jpg", out / "engine.png", output=Output.CLASSES)
        assert np.mean(read_mask(out / "network.png") == read_mask(out / "engine.png")) > 0.99

    def test_it_runs_in_pytorch_alone(self, out) -> None:
        with pytest.raises(UsageError, match="runs in pytorch: leave --backend away"):
            run("photos/wide.jpg", out / "a.png", build="builds/toy-fp32/network", backend="openvino")

    def test_what_a_build_recorded_is_held_against_it(self, built, out) -> None:
        copy = out / "copy"
        shutil.copytree(built / "builds" / "toy-fp32", copy)
        flip(copy / "network" / "weights.safetensors")
        with pytest.raises(IntegrityError, match="has other bytes than were built"):
            run("photos/wide.jpg", out / "a.png", build=str(copy / "network"))


class TestOneImage:
    def test_the_record_says_what_was_done(self, out) -> None:
        events = Recorder()
        done = run("photos/wide.jpg", out / "a.png", threads=1, backend="onnxruntime", events=events)
        assert done.engine == "engines/onnxruntime"
        assert (done.backend, done.precision, done.threads) == ("onnxruntime", "fp32", 1)
        (picture,) = done.pictures
        assert (picture.input, picture.output) == ("photos/wide.jpg", str(out / "a.png"))
        assert (picture.height, picture.width) == SIZES["wide.jpg"]
        assert picture.milliseconds > 0
        assert picture.error is None
        assert json.loads(done.to_json())["pictures"][0]["width"] == 100
        assert events.notes == {"predict": "1 picture"}
        done.complain()

    @pytest.mark.parametrize("name", SIZES)
    def test_classes_and_their_colours_have_its_size(self, out, name) -> None:
        run(f"photos/{name}", out / "classes.png", output=Output.CLASSES)
        run(f"photos/{name}", out / "colours.png")
        numbers, colours = read_mask(out / "classes.png"), read_image(out / "colours.png")
        assert numbers.shape == SIZES[name]
        palette = np.asarray(engine_at(Path("builds/toy-fp32"), None).spec.palette)
        assert numbers.max() < len(palette)
        assert np.array_equal(colours, palette[numbers])
        # A viewer shows the numbers in the same colours.
        assert np.array_equal(read_image(out / "classes.png"), colours)

    def test_an_overlay_shows_both(self, out) -> None:
        run("photos/tall.png", out / "colours.png")
        run("photos/tall.png", out / "overlay.png", output=Output.OVERLAY)
        both = read_image(Path("photos/tall.png")).astype(int) + read_image(out / "colours.png")
        assert np.abs(both / 2 - read_image(out / "overlay.png")).max() <= 0.5

    def test_every_engine_says_the_same(self, out) -> None:
        found = []
        for build, backend in (
            ("toy-fp32", "openvino"),
            ("toy-fp32", "onnxruntime"),
            ("toy-fp32", "pytorch"),
            ("toy-fp32/onnx-fp32", None),
            ("graph/onnx-fp32", None),
            ("raw", None),
        ):
            target = out / f"{len(found)}.png"
            run("photos/wide.jpg", target, f"builds/{build}", backend=backend, output=Output.CLASSES)
            found.append(read_mask(target))
        assert all(np.mean(one == found[0]) > 0.99 for one in found)

    def test_is_turned_as_exif_says(self, out) -> None:
        exif = Pillow.Exif()
        exif[0x0112] = 6
        Pillow.open("photos/wide.jpg").save(out / "turned.jpg", exif=exif, quality="keep")
        run(str(out / "turned.jpg"), out / "turned.png", output=Output.OVERLAY)
        assert read_image(out / "turned.png").shape == (100, 40, 3)
        with Pillow.open(out / "turned.png") as picture:
            assert 0x0112 not in picture.getexif()

    @pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("P", ".png"), ("RGBA", ".png"), ("L", ".jpg")])
    def test_of_any_mode(self, out, mode, suffix) -> None:
        Pillow.open("photos/wide.jpg").convert(mode).save(out / f"mode{suffix}")
        run(str(out / f"mode{suffix}"), out / "out.png")
        assert read_image(out / "out.png").shape == (40, 100, 3)

    def test_of_16_bits(self, out) -> None:
        Pillow.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(out / "deep.png")
        run(str(out / "deep.png"), out / "out.png")
        assert read_image(out / "out.png").shape == (20, 30, 3)

    def test_what_is_broken_leaves_nothing(self, out) -> None:
        whole = Path("photos/wide.jpg").read_bytes()
        broken = {
            "empty.jpg": (b"", "is empty"),
            "half.jpg": (whole[: len(whole) // 2], "is damaged"),
            "bomb.png": (png(65535, 65535, 8, 2, b""), "megapixels"),
            "text.png": (b"hello", "is not a picture"),
        }
        for name, (data, words) in broken.items():
            (out / name).write_bytes(data)
            done = run(str(out / name), out / "out.png")
            with pytest.raises(InputError, match=words):
                done.complain()
        assert {path.name for path in out.iterdir()} == broken.keys()

    def test_kept_files_need_no_work(self, out) -> None:
        (out / "a.png").write_text("mine")
        assert run("photos/wide.jpg", out / "a.png", existing="keep").pictures == ()
        assert (out / "a.png").read_text() == "mine"
        run("photos/wide.jpg", out / "a.png", existing="overwrite")
        assert read_image(out / "a.png").shape == (40, 100, 3)

    def test_what_has_no_use_is_refused(self, out) -> None:
        with pytest.raises(UsageError, match="--tile is for networks that paint"):
            run("photos/wide.jpg", out / "a.png", tile=64)
        assert not list(out.iterdir())

    def test_a_changed_engine_is_not_loaded(self, out, store_root) -> None:
        room = House(store_root, out)
        folder = room.build("backend=onnxruntime", until="compile").folder
        flip(folder / "engines" / "onnxruntime" / "model.onnx")
        with pytest.raises(IntegrityError, match=r"model\.onnx has other bytes than were built"):
            run("photos/wide.jpg", out / "a.png", str(folder))
        assert not (out / "a.png").exists()


class TestFolder:
    def test_every_image_has_its_picture(self, out) -> None:
        done = run("photos", out / "new", output=Output.OVERLAY)
        assert {Path(picture.output).name for picture in done.pictures} == SIZES.keys()
        for name, size in SIZES.items():
            assert read_image(out / "new" / name).shape[:2] == size
        run("photos", out / "classes", output=Output.CLASSES)
        assert {*contents(out / "classes")} == {f"{Path(name).stem}.png" for name in SIZES}

    def test_a_batch_gives_the_same_pictures(self, out) -> None:
        for batch in (None, 3):
            run("photos", out / str(batch), batch=batch, output=Output.CLASSES, backend="onnxruntime")
        assert contents(out / "None") == contents(out / "3")

    @pytest.mark.parametrize("batch", [1, 2, 10])
    def test_broken_ones_are_left_out_and_told(self, out, batch) -> None:
        source = out / "in"
        source.mkdir()
        for name in SIZES:
            (source / name).write_bytes((Path("photos") / name).read_bytes())
        (source / "b.png").touch()
        (source / "broken.jpg").symlink_to("nowhere")
        events = Recorder()
        done = run(str(source), out / "new", batch=batch, events=events)
        assert len(contents(out / "new")) == len(SIZES)
        assert [picture.output is None for picture in done.pictures].count(True) == 2
        assert len(events.warnings) == 2
        assert events.notes == {"predict": f"{len(SIZES)} pictures"}
        with pytest.raises(InputError, match=r"2 of 6 images were left out; the first: '.*b\.png' is empty"):
            done.complain()
        assert [entry["error"] is None for entry in json.loads(done.to_json())["pictures"]].count(False) == 2

    def test_all_broken_makes_no_folder(self, out) -> None:
        source = out / "in"
        source.mkdir()
        (source / "a.png").touch()
        (source / "b.png").touch()
        with pytest.raises(InputError, match="2 of 2 images were left out"):
            run(str(source), out / "new").complain()
        assert not (out / "new").exists()

    def test_what_was_done_stays_where_the_disk_is_full(self, out, monkeypatch) -> None:
        import errno
        import os

        real, calls = os.fsync, []

        def full(number: int) -> None:
            calls.append(number)
            if len(calls) > 2:  # each file, then its folder
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(number)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ResourceError, match="the disk is full"):
            run("photos", out / "new")
        assert [*contents(out / "new")] == ["as it is.png"]
        monkeypatch.setattr(os, "fsync", real)
        done = run("photos", out / "new", existing="keep")
        assert len(done.pictures) == len(SIZES) - 1
        assert len(contents(out / "new")) == len(SIZES)

    def test_names_that_are_no_utf8_can_be_recorded(self, out) -> None:
        source = out / "in"
        source.mkdir()
        name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
        with contextlib.suppress(OSError):  # some file systems have no such names
            (source / name).write_bytes(Path("photos/dot.png").read_bytes())
            done = run(str(source), out / "new")
            assert json.loads(done.to_json())["pictures"][0]["output"].endswith(name)
