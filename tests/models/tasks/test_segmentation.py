from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.photos import photos

from visiondeploy.errors import InputError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.types import Sample

SPEC = NetworkSpec(
    architecture="unet",
    classes=("a", "b", "c"),
    palette=((10, 0, 0), (0, 20, 0), (0, 0, 30)),
    ignore_index=9,
    input=InputSpec(height=4, width=6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
)
TASK = Segmentation(SPEC)


def logits_of(labels: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)[None]}


def sample_of(target: np.ndarray) -> Sample:
    return Sample("s", np.zeros((*target.shape, 3), np.uint8), target.astype(np.uint8))


def test_preprocess_normalises_to_channels_first() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 1] = 255
    feeds = TASK.preprocess(photos(image, image))
    assert feeds["image"].shape == (2, 3, 4, 6)
    assert feeds["image"].dtype == np.float32
    assert np.allclose(feeds["image"][0, 0], -1)
    assert np.allclose(feeds["image"][0, 1], 1)


def test_preprocess_resizes_what_has_another_size() -> None:
    assert TASK.preprocess(photos(np.full((40, 60, 3), 255, np.uint8)))["image"].shape == (1, 3, 4, 6)


def test_miou_of_a_worked_example() -> None:
    """Truth a a b b, prediction a b b b: IoU a = 1/2, b = 2/3; c occurs nowhere and is left out."""
    scores = TASK.score(logits_of(np.array([[0, 1, 1, 1]])), [sample_of(np.array([[0, 0, 1, 1]]))])
    assert TASK.metrics[0].value(scores) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert TASK.metrics[0].parts(scores) == {"a": pytest.approx(1 / 2), "b": pytest.approx(2 / 3), "c": None}


def test_ignored_pixels_do_not_count() -> None:
    scores = TASK.score(logits_of(np.array([[0, 1]])), [sample_of(np.array([[0, 9]]))])
    assert scores.sum() == 1
    assert TASK.metrics[0].value(scores) == 1.0


def test_a_mask_that_is_all_ignored_has_no_value() -> None:
    scores = TASK.score(logits_of(np.array([[0, 1]])), [sample_of(np.array([[9, 9]]))])
    assert np.isnan(TASK.metrics[0].value(scores))


def test_a_prediction_of_another_size_is_brought_to_the_masks() -> None:
    target = np.kron(np.array([[0, 1], [2, 0]]), np.ones((3, 3), int))
    scores = TASK.score(logits_of(np.array([[0, 1], [2, 0]])), [sample_of(target)])
    assert TASK.metrics[0].value(scores) == 1.0


def test_a_sample_without_a_mask_is_named() -> None:
    with pytest.raises(InputError, match="photo has no mask"):
        TASK.score(logits_of(np.array([[0]])), [Sample("photo", np.zeros((1, 1, 3), np.uint8), None)])


def test_classes_come_at_the_size_of_the_image() -> None:
    sample = Sample("s", np.zeros((4, 6, 3), np.uint8), None)
    found = TASK.classes(sample, logits_of(np.array([[0, 1, 2], [2, 1, 0]])))
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.array([[0, 1, 2], [2, 1, 0]]).repeat(2, axis=0).repeat(2, axis=1))


def test_pictures_use_the_palette_and_black_for_ignored() -> None:
    sample = sample_of(np.array([[0, 9], [2, 1]]))
    assert TASK.truth(sample).tolist() == [[[10, 0, 0], [0, 0, 0]], [[0, 0, 30], [0, 20, 0]]]
    assert TASK.picture(sample, logits_of(np.array([[1, 1], [1, 2]])))[1, 1].tolist() == [0, 0, 30]


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=2, max_size=5), st.randoms())
def test_the_value_of_all_images_is_that_of_their_sum(rows: list[list[int]], random) -> None:
    scores = []
    for row in rows:
        predicted = np.array([[random.randrange(3) for _ in row]])
        scores.append(TASK.score(logits_of(predicted), [sample_of(np.array([row]))]))
    together = np.concatenate(scores)
    assert TASK.metrics[0].value(together) == pytest.approx(TASK.metrics[0].value(together.sum(axis=0, keepdims=True)))
    assert 0 <= TASK.metrics[0].value(together) <= 1
