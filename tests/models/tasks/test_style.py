"""Style transfer: what goes in, what comes out, and how it is judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kit.features import LAYERS, known
from kit.networks import spec_of
from kit.pictures import painting, photograph

from visiondeploy.errors import InputError
from visiondeploy.models.features import features_digest
from visiondeploy.models.tasks.style import Style
from visiondeploy.models.tasks.style_bytes import StyleBytes
from visiondeploy.types import Array, Sample

SAMPLE = Sample("disc", photograph(64, 96), painting())


@pytest.fixture(scope="module", autouse=True)
def features(tmp_path_factory):
    """A feature network that is small and at hand."""
    with known(tmp_path_factory.mktemp("features")) as name:
        yield name


def spec_with(architecture: str = "style", **changes: object):
    """A network at 32×48 that is judged by the small feature network."""
    spec = spec_of(architecture)
    style = spec.style.model_copy(update={"features": "tiny", "weights": features_digest("tiny")})
    return spec.model_copy(update={"style": style, **changes})


def as_output(image: Array, batch: int = 1) -> dict[str, Array]:
    """H×W×3 uint8 as what a network gives."""
    return {"picture": np.stack([image.transpose(2, 0, 1)] * batch).astype(np.float32) / 255}


class TestPreprocessing:
    def test_the_middle_is_cut_out_so_that_nothing_is_squeezed(self) -> None:
        wide = np.zeros((32, 96, 3), np.uint8)
        wide[:, 24:72] = 200
        assert (Style(spec_with()).fitted(wide) == 200).mean() > 0.95

    def test_an_image_of_the_right_size_goes_in_as_it_is(self) -> None:
        image = photograph(32, 48)
        assert Style(spec_with()).fitted(image) is image
        (fed,) = StyleBytes(spec_with()).preprocess([Sample("", image, None)]).values()
        assert np.array_equal(fed[0], image)

    def test_weights_say_which_style(self) -> None:
        task = Style(spec_with("style-multi"))
        samples = [Sample("", photograph(), None, style=number) for number in (1, 0, 1)]
        assert np.array_equal(task.preprocess(samples)["weights"], [[0, 1], [1, 0], [0, 1]])
        assert [tensor.name for tensor in task.input_specs] == ["image", "weights"] == list(task.inputs)

    def test_a_painting_says_the_style_where_any_may(self) -> None:
        task = Style(spec_with("style-adain"))
        feeds = task.preprocess([SAMPLE])
        assert feeds["style"].shape == feeds["image"].shape == (1, 3, 32, 48)
        assert not np.array_equal(feeds["style"], feeds["image"])
        blank = Sample("blank", SAMPLE.image, None)
        assert task.preprocess([blank])["style"].shape == (1, 3, 32, 48)


class TestMetrics:
    def score(self, image: Array, sample: Sample = SAMPLE) -> dict[str, float]:
        task = Style(spec_with())
        rows = task.score(as_output(image), [sample], as_output(image))
        return {metric.name: metric.value(rows) for metric in task.metrics}

    def test_the_photograph_has_its_content_and_the_painting_its_style(self) -> None:
        task = Style(spec_with())
        same = self.score(task.fitted(SAMPLE.image))
        assert same["content_loss"] == pytest.approx(0, abs=1e-9)
        painted = self.score(task.fitted(SAMPLE.target))
        assert painted["style_loss"] < same["style_loss"] / 4
        assert painted["content_loss"] > 0.1

    def test_the_whole_painting_has_all_of_its_style(self) -> None:
        size = spec_with().input.model_copy(update={"height": 80, "width": 64})
        task = Style(spec_with(input=size))
        rows = task.score(as_output(SAMPLE.target), [SAMPLE])
        assert task.metrics[0].value(rows) == pytest.approx(0, abs=1e-9)

    def test_the_style_loss_is_told_by_layer_and_is_their_mean(self) -> None:
        task = Style(spec_with())
        rows = task.score(as_output(task.fitted(SAMPLE.image)), [SAMPLE])
        parts = task.metrics[0].parts(rows)
        assert tuple(parts) == LAYERS
        assert task.metrics[0].value(rows) == pytest.approx(np.mean(list(parts.values())))

    def test_several_samples_are_judged_each_by_its_own_painting(self) -> None:
        task = Style(spec_with())
        other = Sample("other", photograph(40, 40), np.ascontiguousarray(painting()[:, ::-1] // 2))
        image = task.fitted(SAMPLE.image)
        both = task.score(as_output(image, batch=2), [SAMPLE, other])
        alone = [task.score(as_output(image), [sample]) for sample in (SAMPLE, other)]
        assert np.allclose(both, np.concatenate(alone), rtol=1e-5, equal_nan=True)
        assert both[0, 2] != pytest.approx(both[1, 2], rel=1e-2)

    def test_what_lies_outside_of_a_picture_is_judged_as_it_is_shown(self) -> None:
        task = Style(spec_with())
        inside = as_output(task.fitted(SAMPLE.image))["picture"]
        beyond = {"picture": np.where(inside > 0.5, inside + 2, inside)}
        shown = {"picture": np.where(inside > 0.5, 1, inside).astype(np.float32)}
        assert np.allclose(task.score(beyond, [SAMPLE]), task.score(shown, [SAMPLE]), equal_nan=True)

    def test_no_painting_is_one_sentence(self) -> None:
        with pytest.raises(InputError, match="disc has no painting"):
            Style(spec_with()).score(as_output(photograph(32, 48)), [Sample("disc", photograph(), None)])

    def test_other_feature_weights_are_not_compared_with(self) -> None:
        spec = spec_with()
        other = spec.model_copy(update={"style": spec.style.model_copy(update={"weights": "f" * 64})})
        with pytest.raises(InputError, match="weights of feature network 'tiny' here are not those"):
            Style(other).score(as_output(photograph(32, 48)), [SAMPLE])


class TestFlicker:
    def of(self, still: Array, panned: Array) -> float:
        size = spec_with().input.model_copy(update={"height": still.shape[0], "width": still.shape[1]})
        task = Style(spec_with(input=size))
        rows = task.score(as_output(still), [SAMPLE], as_output(panned))
        return task.metrics[2].value(rows)

    def test_a_picture_that_moves_along_is_steady(self) -> None:
        size = spec_with().input.model_copy(update={"height": 64, "width": 96})
        task = Style(spec_with(input=size))
        moved = task.moved(SAMPLE)
        assert not np.array_equal(moved.image, SAMPLE.image)
        assert self.of(SAMPLE.image, moved.image) == 0

    def test_a_picture_that_stands_still_or_is_noisy_is_not(self) -> None:
        assert self.of(SAMPLE.image, SAMPLE.image) > 0.02
        noise = np.random.default_rng(0).integers(-10, 10, SAMPLE.image.shape)
        size = spec_with().input.model_copy(update={"height": 64, "width": 96})
        moved = Style(spec_with(input=size)).moved(SAMPLE).image
        noisy = np.clip(moved.astype(int) + noise, 0, 255).astype(np.uint8)
        assert 0.01 < self.of(SAMPLE.image, noisy) < 0.03

    def test_nothing_is_said_without_a_second_frame(self) -> None:
        task = Style(spec_with())
        assert math.isnan(task.metrics[2].value(task.score(as_output(photograph(32, 48)), [SAMPLE])))


class TestLikeness:
    def test_of_equal_pictures(self) -> None:
        image = as_output(photograph(32, 48), batch=2)
        found = Style(spec_with()).likeness(image, image)
        assert found["ssim"] == pytest.approx([1, 1])
        assert found["psnr_db"] == pytest.approx([100, 100])
        assert found["features"] == pytest.approx([0, 0], abs=1e-6)

    def test_less_alike_the_more_noise(self) -> None:
        task, clean = Style(spec_with()), as_output(photograph(32, 48))
        noise = np.random.default_rng(0).normal(0, 1, clean["picture"].shape).astype(np.float32)
        found = [task.likeness(clean, {"picture": clean["picture"] + level * noise}) for level in (0.01, 0.05, 0.2)]
        for measure, falls in (("ssim", True), ("psnr_db", True), ("features", False)):
            values = [float(one[measure][0]) for one in found]
            assert values == sorted(values, reverse=falls)
            assert len(set(values)) == 3


class TestRawImages:
    def test_pixels_are_rounded_and_cut_off(self) -> None:
        task = StyleBytes(spec_with())
        values = np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 2.0], np.float32)
        picture = np.broadcast_to(values, (1, 3, 2, 6)).copy()
        (pixels,) = task.finish({"picture": picture}).values()
        assert pixels.shape == (1, 2, 6, 3)
        assert pixels.dtype == np.uint8
        assert pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]

    def test_are_judged_like_the_pictures_that_they_round(self) -> None:
        plain, raw = Style(spec_with()), StyleBytes(spec_with())
        outputs = as_output(plain.fitted(SAMPLE.image))
        assert np.allclose(plain.score(outputs, [SAMPLE]), raw.score(raw.finish(outputs), [SAMPLE]), equal_nan=True)
        assert np.array_equal(plain.picture(SAMPLE, outputs), raw.picture(SAMPLE, raw.finish(outputs)))
