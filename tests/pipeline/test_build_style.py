"""Builds of style networks, end to end with the real runtimes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from kit.builds import Recorder
from kit.features import known
from kit.pictures import painting, photograph
from PIL import Image as Pillow

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.build import Built, build
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.predicting import predict
from visiondeploy.pipeline.recipe import Recipe, resolve
from visiondeploy.pipeline.store import Store
from visiondeploy.types import Image, Outcome, Status

TOY = Path(__file__).resolve().parent / "data" / "toy-style.toml"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two paintings and a store; the small feature network is known meanwhile."""
    root = tmp_path_factory.mktemp("style")
    Pillow.fromarray(painting()).save(root / "waves.png")
    Pillow.fromarray(np.ascontiguousarray(painting()[..., ::-1])).save(root / "stars.png")
    with known(root / "features"):
        yield root


def recipe(place: Path, *overrides: str, styles: tuple[str, ...] = ("waves.png",)) -> Recipe:
    """The toy's recipe with paintings."""
    images = [str(place / name) for name in styles]
    return resolve(None, TOY, ("style.features=tiny", *overrides), {"style.images": images or None})


def made(place: Path, *overrides: str, styles: tuple[str, ...] = ("waves.png",)) -> Built:
    """The toy, built."""
    with contextlib.chdir(place):
        return build(recipe(place, *overrides, styles=styles), Store(place / "cache"), None, Recorder())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_style_content_and_likeness_are_measured(place, precision) -> None:
    report = made(place, f"precision={precision}").report
    baseline, *engines = report.rows
    assert [row.status for row in report.rows] == [Status.OK] * 3
    for row in report.rows:
        assert row.quality.metric == "style_loss"
        assert row.quality.smaller
        assert row.quality.n == 3
        assert [quality.metric for quality in row.more] == ["content_loss", "flicker"]
        assert list(row.quality.per_class) == ["relu1_1", "relu2_1", "relu3_1"]
    assert baseline.likeness == {}
    for row in engines:
        assert {"ssim", "psnr_db", "features"} == set(row.likeness)
        assert 0.9 < row.likeness["ssim"].value <= 1
        assert row.agreement.pixels is None
    checks = {check.name.partition(": ")[2]: check for check in report.verdict.checks if ": " in check.name}
    assert {"style_loss", "content_loss", "ssim"} <= set(checks)
    assert "flicker" not in checks, "it is told, and has no limit"
    assert checks["style_loss"].limit == "at most 3 % above the baseline"
    assert checks["ssim"].status is not Outcome.FAIL


def test_raw_images_go_in_and_pixels_come_out(place) -> None:
    built = made(place, "precision=int8", "export.io=uint8", "backend=openvino")
    assert any("rounding to pixels" in note for note in built.report.notes)
    assert built.report.rows[1].likeness["ssim"].value > 0.9


@pytest.mark.parametrize("network", ["style-multi", "style-adain"])
def test_networks_that_are_told_the_style(place, network) -> None:
    report = made(place, f"model.name={network}", f"name={network}", styles=("waves.png", "stars.png")).report
    for row in report.rows:
        assert row.status is Status.OK, row.reason
        assert row.quality.n == 6, "three photographs in two styles"
        assert row.likeness.get("ssim") is None or row.likeness["ssim"].value > 0.99


def test_bench_shows_the_painting_beside_what_was_made_of_it(place) -> None:
    built = made(place, "precision=fp32")
    with contextlib.chdir(place):
        done = bench([built.folder], None, 1.0, None, place / "benched", Silent())
    assert [row.quality.metric for row in done.report.rows] == ["style_loss"] * 3
    assert "by layer, in percent" in (done.folder / "report.md").read_text(encoding="utf-8")
    width, _ = Pillow.open(done.pictures).size
    assert width > 5 * 320, "content, style, and three that were made"


def test_a_checkpoint_is_judged_by_the_painting_that_it_was_taught(place) -> None:
    checkpoint = place / made(place, "precision=fp32").folder / "network"
    assert read_spec(checkpoint).style.names == ("waves",)
    again = Plan(recipe(place, f"model.checkpoint={checkpoint}"))
    again.check()
    assert again.spec.style == read_spec(checkpoint).style
    with pytest.raises(UsageError, match=r"was taught waves, and --style names stars, with other pixels"):
        Plan(recipe(place, f"model.checkpoint={checkpoint}", styles=("stars.png",))).check()


class TestBadCalls:
    def test_no_painting(self, place) -> None:
        with pytest.raises(UsageError, match="needs a painting: name a picture with --style"):
            Plan(recipe(place, styles=())).check()

    def test_a_painting_that_is_not_there(self, place) -> None:
        with pytest.raises(InputError, match=r"nowhere\.png"):
            Plan(recipe(place, styles=("nowhere.png",))).check()

    def test_an_unknown_feature_network(self, place) -> None:
        with pytest.raises(UsageError, match="no feature network 'vgg61'"):
            Plan(recipe(place, "style.features=vgg61")).check()

    def test_several_paintings_for_a_network_of_one_style(self, place) -> None:
        with pytest.raises(UsageError, match="knows one style, and --style names 2 paintings"):
            Plan(recipe(place, styles=("waves.png", "stars.png"))).check()

    def test_a_painting_for_another_task(self, place) -> None:
        with pytest.raises(UsageError, match="are for style transfer, and the task is segmentation"):
            Plan(resolve("unet", None, (), {"style.images": [str(place / "waves.png")]})).check()


class TestPictures:
    def predict(self, build: Path, source: Path, target: Path, style: str | None = None, **more: object) -> Image:
        """The picture that `deploy predict` makes, H×W×3 uint8."""
        given = {"output": None, "backend": None, "tile": None, "batch": None, "threads": 1, **more}
        done = predict(build, str(source), str(target), style=style, existing="refuse", events=Silent(), **given)
        done.complain()
        return np.asarray(Pillow.open(target))

    @pytest.fixture
    def photo(self, tmp_path) -> Path:
        """A photograph that is larger than the network's input, and of another shape."""
        Pillow.fromarray(photograph(70, 90)).save(tmp_path / "photo.png")
        return tmp_path / "photo.png"

    def test_have_the_photographs_own_size(self, place, photo, tmp_path) -> None:
        build = place / made(place, "precision=int8", "backend=openvino").folder
        assert self.predict(build, photo, tmp_path / "out.png").shape == (70, 90, 3)

    def test_of_a_network_of_several_styles_are_as_is_said(self, place, photo, tmp_path) -> None:
        several = ("model.name=style-multi", "name=style-multi", "backend=onnxruntime")
        build = place / made(place, *several, styles=("waves.png", "stars.png")).folder
        found = [
            self.predict(build, photo, tmp_path / f"{number}.png", style)
            for number, style in enumerate((None, "waves", "stars"))
        ]
        assert np.array_equal(found[0], found[1]), "the first one where none is named"
        assert not np.array_equal(found[1], found[2])
        with pytest.raises(UsageError, match=r"no style of the network 'star': did you mean 'stars'\?"):
            self.predict(build, photo, tmp_path / "other.png", "star")

    def test_of_a_network_for_any_style_are_like_the_picture_that_is_given(self, place, photo, tmp_path) -> None:
        build = place / made(place, "model.name=style-adain", "name=style-adain", "backend=onnxruntime").folder
        found = [
            self.predict(build, photo, tmp_path / f"of-{name}.png", str(place / f"{name}.png"))
            for name in ("waves", "stars")
        ]
        assert not np.array_equal(*found)
        with pytest.raises(UsageError, match="paints like any picture: name one with --style"):
            self.predict(build, photo, tmp_path / "other.png")

    def test_a_network_that_is_told_nothing_refuses_a_style(self, place, photo, tmp_path) -> None:
        build = place / made(place, "precision=int8", "backend=openvino").folder
        with pytest.raises(UsageError, match="--style is for networks that are told a style"):
            self.predict(build, photo, tmp_path / "other.png", "waves")
