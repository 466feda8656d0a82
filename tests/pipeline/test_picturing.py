"""An engine as what makes pictures: which task sees what, in which sizes and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from visiondeploy.errors import UsageError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks import table
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.pipeline import picturing
from visiondeploy.pipeline.picturing import MULTIPLE, Output, maker_of
from visiondeploy.types import Array, Image, Sample, TensorSpec

CLASSES = NetworkSpec(
    architecture="unet",
    classes=("dark", "bright"),
    palette=((10, 20, 30), (200, 210, 220)),
    ignore_index=9,
    input=InputSpec(height=8, width=16, mean=(0, 0, 0), std=(1, 1, 1)),
)
PAINTED = CLASSES.model_copy(update={"task": "painting", "input": InputSpec(height=64, width=96)})


class Painting:
    """A task whose output is a picture of the input's own pixels: N×3×H×W float32 in 0…1, both ways."""

    name = "painting"
    inputs = ("image",)
    tiled = True

    def __init__(self, spec: NetworkSpec) -> None:
        self.size = (spec.input.height, spec.input.width)

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        images = [sample.image for sample in samples]
        assert {image.shape[:2] for image in images} == {self.size}
        return {"image": np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255}

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        return np.rint(outputs["picture"][0].transpose(1, 2, 0) * 255).astype(np.uint8)


class Brightness:
    """Class 1 where the first channel is over the middle."""

    def __init__(self, batch: int | str = "batch") -> None:
        self.inputs = (TensorSpec("image", "float32", (batch, 3, 8, 16)),)
        self.batches: list[int] = []

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        first = feeds["image"][:, 0] - 0.5
        self.batches.append(len(first))
        return {"logits": np.stack([-first, first], axis=1)}


class Inverse:
    """A negative of the picture; `farther` adds what instance norm would: the mean of what it sees is moved to grey."""

    def __init__(self, *shape: int | str, farther: bool = False) -> None:
        self.inputs = (TensorSpec("image", "float32", shape),)
        self.shapes: list[tuple[int, ...]] = []
        self.farther = farther

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        image = feeds["image"]
        self.shapes.append(image.shape)
        found = 1 - image
        if self.farther:
            found = np.clip(found - found.mean(axis=(1, 2, 3), keepdims=True) + 0.5, 0, 1)
        return {"picture": found}


@pytest.fixture(autouse=True)
def painting(monkeypatch) -> None:
    monkeypatch.setitem(table.TASKS, "painting", table.TaskEntry({"float32": Painting}, ""))


def ignore(done: int, total: int) -> None:
    pass


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halves(height: int, width: int) -> Image:
    """Dark at the left, bright at the right."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, width // 2 :] = 255
    return image


class TestClasses:
    @pytest.mark.parametrize("size", [(8, 16), (1, 2), (80, 200), (33, 10)])
    def test_come_out_at_the_images_size(self, size) -> None:
        image = halves(*size)
        (numbers,) = maker_of(Brightness(), CLASSES, Output.CLASSES, None, None).make([image], ignore)
        assert numbers.dtype == np.uint8
        assert np.array_equal(numbers, (image[..., 0] > 0).astype(np.uint8))

    def test_in_their_colours_unless_something_else_is_asked_for(self) -> None:
        image = halves(8, 16)
        wanted = np.asarray(CLASSES.palette, np.uint8)[(image[..., 0] > 0).astype(int)]
        for output in (None, Output.COLOURS):
            assert np.array_equal(maker_of(Brightness(), CLASSES, output, None, None).make([image], ignore)[0], wanted)

    def test_over_the_photograph_half_of_each_is_seen(self) -> None:
        (found,) = maker_of(Brightness(), CLASSES, Output.OVERLAY, None, None).make([halves(8, 16)], ignore)
        assert found[0, 0].tolist() == [5, 10, 15]
        assert found[0, -1].tolist() == [228, 233, 238]

    def test_several_images_run_at_once(self) -> None:
        session = Brightness()
        images = [halves(9, 9), 255 - halves(20, 30), halves(5, 4)]
        maker = maker_of(session, CLASSES, Output.CLASSES, None, 3)
        assert maker.at_once == 3
        found = maker.make(images, ignore)
        assert session.batches == [3]
        for image, numbers in zip(images, found, strict=True):
            assert np.array_equal(numbers, image[..., 0] > 0)

    def test_an_engine_of_a_fixed_batch_is_filled(self) -> None:
        session = Brightness(batch=4)
        maker = maker_of(session, CLASSES, Output.CLASSES, None, None)
        assert maker.at_once == 4
        assert len(maker.make([halves(8, 16)] * 3, ignore)) == 3
        assert session.batches == [4]
        with pytest.raises(UsageError, match="--batch 2 does not fit: the engine takes 4 at once"):
            maker_of(session, CLASSES, None, None, 2)

    def test_have_no_tiles(self) -> None:
        with pytest.raises(UsageError, match="segmentation sees an image as a whole: leave it away"):
            maker_of(Brightness(), CLASSES, None, 64, None)

    def test_a_task_without_them_has_no_numbers(self, monkeypatch) -> None:
        monkeypatch.setattr(Segmentation, "classes", lambda self, sample, outputs: None)
        with pytest.raises(UsageError, match="segmentation has none"):
            maker_of(Brightness(), CLASSES, Output.CLASSES, None, None).make([halves(8, 16)], ignore)


class TestPictures:
    @pytest.mark.parametrize("size", [(64, 96), (1, 1), (30, 200), (150, 96), (190, 205)])
    def test_of_any_size_come_from_an_engine_of_one_size(self, size) -> None:
        session = Inverse("batch", 3, 64, 96)
        image = noise(*size)
        (found,) = maker_of(session, PAINTED, None, None, None).make([image], ignore)
        assert np.array_equal(found, 255 - image)
        assert set(session.shapes) == {(1, 3, 64, 96)}

    def test_tiles_run_in_batches(self) -> None:
        session = Inverse("batch", 3, 64, 96)
        image = noise(64, 400)
        assert np.array_equal(maker_of(session, PAINTED, None, None, 3).make([image], ignore)[0], 255 - image)
        assert max(shape[0] for shape in session.shapes) == 3

    def test_tiles_fill_a_fixed_batch(self) -> None:
        session = Inverse(2, 3, 64, 96)
        image = noise(100, 100)
        assert np.array_equal(maker_of(session, PAINTED, None, None, None).make([image], ignore)[0], 255 - image)
        assert {shape[0] for shape in session.shapes} == {2}

    def test_one_tile_is_run_once(self) -> None:
        session = Inverse("batch", 3, 64, 96, farther=True)
        maker_of(session, PAINTED, None, None, None).make([noise(64, 96), noise(20, 30)], ignore)
        assert len(session.shapes) == 2

    def test_where_the_size_is_free_the_picture_is_seen_whole(self) -> None:
        session = Inverse("batch", 3, "height", "width", farther=True)
        image = noise(90, 333)
        (found,) = maker_of(session, PAINTED, None, None, None).make([image], ignore)
        assert found.shape == image.shape
        assert session.shapes == [(1, 3, 96, 336)]
        assert 336 % MULTIPLE == 0

    def test_unless_it_is_too_large(self, monkeypatch) -> None:
        monkeypatch.setattr(picturing, "WHOLE", 100 * 100)
        monkeypatch.setattr(picturing, "TILE", 64)
        session = Inverse("batch", 3, "height", "width")
        image = noise(30, 400)
        assert np.array_equal(maker_of(session, PAINTED, None, None, None).make([image], ignore)[0], 255 - image)
        assert {shape[2:] for shape in session.shapes} == {(32, 64)}

    def test_or_tiles_are_asked_for(self) -> None:
        session = Inverse("batch", 3, "height", "width")
        maker_of(session, PAINTED, None, 70, None).make([noise(200, 200)], ignore)
        assert {shape[2:] for shape in session.shapes} == {(80, 80)}

    def test_tiles_have_the_tone_of_the_whole(self) -> None:
        """Half dark and half bright: with tiles alone both would come out grey."""
        image = halves(64, 960)
        maker = maker_of(Inverse("batch", 3, 64, 96, farther=True), PAINTED, None, None, None)
        (found,) = maker.make([image], ignore)
        assert found[:, :200].mean() > 220
        assert found[:, -200:].mean() < 30

    def test_progress_is_told_of_tiles(self) -> None:
        told: list[tuple[int, int]] = []
        maker = maker_of(Inverse("batch", 3, 64, 96), PAINTED, None, None, None)
        maker.make([noise(64, 160)], lambda *now: told.append(now))
        assert told == [(1, 2), (2, 2)]

    def test_what_does_not_fit_is_refused(self) -> None:
        session = Inverse("batch", 3, 64, 96)
        with pytest.raises(UsageError, match="--tile 128 does not fit: the engine takes 64×96 alone"):
            maker_of(session, PAINTED, None, 128, None)
        with pytest.raises(UsageError, match="--output is for networks with classes, and painting paints"):
            maker_of(session, PAINTED, Output.COLOURS, None, None)
        assert maker_of(Inverse("batch", 3, 64, 64), PAINTED, None, 64, None)
