"""Style transfer by optimisation: what the result is like, and that an interruption does not change it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.features import LAYERS, TinyFeatures
from kit.pictures import painting, photograph
from pydantic import ValidationError

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.gatys import STATE, Stylised, as_image, as_tensor, stylise
from visiondeploy.models.gatys_scales import scales_of
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.models.perceptual import content_loss, style_grams, style_loss
from visiondeploy.types import Image

NET = TinyFeatures()
SETTINGS = GatysSettings(size=96, scales=2, iterations=30, save_every=5, style_weight=2.0, variation_weight=0.0)


class Stopped(Exception):
    """A run that ends before its time."""


def run(work: Path, settings: GatysSettings = SETTINGS, stop_after: int | None = None, **kwargs) -> Stylised:
    """Stylise; with `stop_after` the run dies after so many iterations."""
    work.mkdir(exist_ok=True)
    count = 0

    def report(done: int, total: int, note: str) -> None:
        nonlocal count
        count += 1
        if count == stop_after:
            raise Stopped

    kwargs = {"photo": photograph(), "painting": painting(), "preview": lambda _: None, **kwargs}
    return stylise(NET, settings=settings, work=work, report=report, **kwargs)


def distances(picture: Image) -> tuple[float, float]:
    """Of a picture to the content and to the style."""
    size = picture.shape[:2]
    found = NET(as_tensor(picture, size), LAYERS)
    wanted = NET(as_tensor(photograph(), size), NET.content)
    grams = style_grams(NET, as_tensor(painting(), painting().shape[:2]), LAYERS)
    return float(content_loss(found, wanted)), float(style_loss(found, grams))


class TestResult:
    @pytest.fixture(scope="class")
    @staticmethod
    def found(tmp_path_factory) -> Stylised:
        return run(tmp_path_factory.mktemp("work"))

    def test_is_between_the_photograph_and_the_painting(self, found) -> None:
        """Far nearer to the painting's style than the photograph is, far nearer to its content than the painting."""
        content, style = distances(found.picture)
        photo_content, photo_style = distances(photograph())
        painting_content, painting_style = distances(as_image(as_tensor(painting(), found.picture.shape[:2])))
        assert (photo_content, round(painting_style)) == (0, 0)
        assert style < 0.3 * photo_style
        assert content < 0.5 * painting_content

    def test_has_the_longer_side_that_was_asked_for(self, found) -> None:
        assert found.picture.shape == (64, 96, 3)
        assert found.picture.dtype == np.uint8
        assert [(scale["height"], scale["width"]) for scale in found.history] == [(64, 96)]

    def test_repeats_to_the_byte(self, found, tmp_path) -> None:
        assert np.array_equal(run(tmp_path).picture, found.picture)

    def test_more_weight_for_one_side_brings_it_nearer(self, found, tmp_path) -> None:
        heavy = SETTINGS.model_copy(update={"content_weight": 20 * SETTINGS.content_weight})
        content, style = distances(run(tmp_path, heavy).picture)
        assert content < distances(found.picture)[0]
        assert style > distances(found.picture)[1]

    def test_from_noise_it_comes_near_the_same(self, found, tmp_path) -> None:
        noise = SETTINGS.model_copy(update={"init": "noise", "iterations": 60})
        content, style = distances(run(tmp_path / "a", noise).picture)
        assert content < 2 * distances(found.picture)[0]
        assert style < 0.2 * distances(photograph())[1]
        other = noise.model_copy(update={"seed": 1})
        assert not np.array_equal(run(tmp_path / "b", other).picture, run(tmp_path / "a", noise).picture)


def test_the_loss_falls_with_every_iteration_of_a_scale(tmp_path) -> None:
    losses: list[float] = []

    def preview(picture: Image) -> None:
        content, style = distances(picture)
        losses.append(settings.content_weight * content + settings.style_weight * style)

    settings = GatysSettings(size=96, scales=1, iterations=12, save_every=1, variation_weight=0.0, style_weight=1.0)
    run(tmp_path, settings, preview=preview)
    assert len(losses) == 12
    # 8 bits a channel are seen here, of a picture that has more.
    assert all(after <= before + 1e-3 for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("stop_after", [1, 7, 15, 16, 23, 29])
def test_a_run_that_went_on_gives_the_same_bytes(tmp_path, stop_after) -> None:
    """With two scales of 15, saved every 4 iterations and at the end of a scale."""
    settings = GatysSettings(size=192, scales=2, iterations=30, save_every=4, memory=3)
    photo = photograph(128, 192)
    whole = run(tmp_path / "whole", settings, photo=photo)
    with pytest.raises(Stopped):
        run(tmp_path / "cut", settings, stop_after, photo=photo)
    resumed = run(tmp_path / "cut", settings, photo=photo)
    assert stop_after - resumed.resumed_from <= 4
    assert resumed.resumed_from == {1: 0, 7: 4, 15: 12, 16: 15, 23: 23 - 4, 29: 27}[stop_after]
    assert np.array_equal(resumed.picture, whole.picture)
    assert resumed.history == whole.history
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [STATE]


def test_one_that_ended_has_nothing_left_to_do(tmp_path) -> None:
    found = run(tmp_path)
    again = run(tmp_path, stop_after=1)
    assert again.resumed_from == SETTINGS.iterations
    assert np.array_equal(again.picture, found.picture)


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"not a state"])
def test_a_damaged_state_starts_again(tmp_path, content) -> None:
    (tmp_path / STATE).write_bytes(content)
    (tmp_path / f"{STATE}.123.tmp").write_bytes(content)
    assert run(tmp_path).resumed_from == 0
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def test_progress_and_pictures_are_told_on_the_way(tmp_path) -> None:
    told: list[tuple[int, int, str]] = []
    seen: list[tuple[int, ...]] = []
    settings = GatysSettings(size=192, scales=2, iterations=10, save_every=2)
    stylise(
        NET,
        photograph(128, 192),
        painting(),
        settings,
        tmp_path,
        lambda *words: told.append(words),
        lambda picture: seen.append(picture.shape),
    )
    percents = [done for done, _, _ in told]
    assert (len(told), percents[-1]) == (10, 100)
    assert percents == sorted(percents)
    # An iteration at half the size is a quarter of the work.
    assert percents[4] == 20
    assert told[0][2].startswith("iteration 1 of 10 at 96×64, content 0.")
    assert seen == [(64, 96, 3)] * 3 + [(128, 192, 3)] * 3


class TestScales:
    @staticmethod
    def sizes(height: int, width: int, **settings: int) -> list[tuple[int, int]]:
        found = scales_of((height, width), GatysSettings(**settings))
        assert sum(scale.iterations for scale in found) == GatysSettings(**settings).iterations
        assert all(scale.iterations > 0 for scale in found)
        return [(scale.height, scale.width) for scale in found]

    def test_double_up_to_the_size_of_the_result(self) -> None:
        assert self.sizes(600, 800, size=512) == [(96, 128), (192, 256), (384, 512)]
        assert self.sizes(800, 600, size=512, scales=1) == [(512, 384)]

    def test_leave_out_what_is_too_coarse(self) -> None:
        assert self.sizes(600, 800, size=128, scales=6) == [(96, 128)]
        assert self.sizes(100, 800, size=1024, scales=6) == [(64, 512), (128, 1024)]

    def test_are_no_more_than_the_iterations(self) -> None:
        assert self.sizes(600, 800, size=512, iterations=2) == [(192, 256), (384, 512)]

    def test_a_small_photograph_is_enlarged(self) -> None:
        assert self.sizes(48, 64, size=512, scales=1) == [(384, 512)]

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            ((16, 400), "the photograph is 400×16 pixels, expected at least 32 a side"),
            ((40, 4000), "with 512 for the longer side only 5 are left for the other, expected at least 32: choose"),
        ],
    )
    def test_a_photograph_that_is_too_small_is_refused(self, size, message) -> None:
        with pytest.raises(InputError, match=message):
            scales_of(size, GatysSettings())


@pytest.mark.parametrize("which", ["content_layers", "style_layers"])
def test_a_layer_that_the_network_does_not_have_is_named(tmp_path, which) -> None:
    settings = SETTINGS.model_copy(update={which: ("relu2_2",)})
    with pytest.raises(UsageError, match="there is no layer 'relu2_2': did you mean 'relu2_1'"):
        run(tmp_path, settings)


def test_a_painting_that_is_too_small_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="the painting is 20×40 pixels, expected at least 32 a side"):
        run(tmp_path, painting=painting(40, 20))


def test_a_painting_is_not_enlarged_and_not_shrunk_to_nothing(tmp_path) -> None:
    """A painting of 33 pixels for a picture of 96, and one at an eighth of its size."""
    assert run(tmp_path / "small", painting=painting(33, 33)).picture.shape == (64, 96, 3)
    tiny = SETTINGS.model_copy(update={"style_size": 0.125, "iterations": 2})
    assert run(tmp_path / "tiny", tiny).picture.shape == (64, 96, 3)


def test_without_any_weight_the_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="both 0, so that nothing is aimed at"):
        GatysSettings(content_weight=0, style_weight=0)


def test_pictures_survive_the_way_there_and_back() -> None:
    image = photograph()
    assert np.array_equal(as_image(as_tensor(image, image.shape[:2])), image)
    assert as_image(torch.tensor([[[[-0.5]], [[0.5]], [[1.5]]]])).tolist() == [[[0, 128, 255]]]
