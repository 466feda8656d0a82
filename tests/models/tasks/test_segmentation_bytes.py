"""Segmentation with raw images in and class maps out, beside the one with floats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from kit.photos import photos

from visiondeploy.errors import UsageError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks import table
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.models.tasks.segmentation_bytes import SegmentationBytes
from visiondeploy.models.tasks.table import task_of
from visiondeploy.types import Sample

SPEC = NetworkSpec(
    architecture="unet",
    classes=("a", "b", "c"),
    palette=((10, 0, 0), (0, 20, 0), (0, 0, 30)),
    ignore_index=9,
    input=InputSpec(height=4, width=6),
    io="uint8",
)
TASK, FLOATS = SegmentationBytes(SPEC), Segmentation(SPEC)
NONE = 255
"""No class of three."""

few = st.integers(-2, 2).map(np.float32)
logits = arrays.arrays(np.float32, (2, 3, 4, 6), elements=few)
masks = arrays.arrays(np.uint8, (2, 4, 6), elements=st.sampled_from([0, 1, 2, 9]))


def samples_of(targets: np.ndarray) -> list[Sample]:
    return [Sample("s", np.zeros((*target.shape, 3), np.uint8), target) for target in targets]


def test_the_description_says_which_of_the_two_a_network_has() -> None:
    assert type(task_of(SPEC)) is SegmentationBytes
    assert type(task_of(SPEC.model_copy(update={"io": "float32"}))) is Segmentation


def test_a_task_that_has_no_such_graphs_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(table.TASKS, "segmentation", table.TaskEntry({"float32": Segmentation}, ""))
    with pytest.raises(UsageError, match=r"segmentation has no graphs with uint8: set export\.io to float32"):
        task_of(SPEC)


def test_an_image_of_the_right_size_goes_in_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    feeds = TASK.preprocess(photos(*images))
    assert feeds["image"].dtype == np.uint8
    assert np.array_equal(feeds["image"], images)


def test_one_of_another_size_is_resized_as_for_floats() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 33, 3), dtype=np.uint8)
    raw, floats = TASK.preprocess(photos(image))["image"], FLOATS.preprocess(photos(image))["image"]
    mean, std = (np.array(values, np.float32) for values in (SPEC.input.mean, SPEC.input.std))
    assert np.array_equal(((raw.astype(np.float32) / 255.0 - mean) / std).transpose(0, 3, 1, 2), floats)


def test_what_goes_in_and_out_is_what_the_specs_say() -> None:
    for task in (TASK, FLOATS):
        feeds = task.preprocess(photos(np.zeros((4, 6, 3), np.uint8)))
        outputs = task.finish({"logits": np.zeros((1, 3, 4, 6), np.float32)})
        for specs, names, found in (
            (task.input_specs, task.inputs, feeds),
            (task.output_specs, task.outputs, outputs),
        ):
            assert tuple(spec.name for spec in specs) == names
            assert {s.name: (s.dtype, s.shape[1:]) for s in specs} == {
                name: (str(value.dtype), value.shape[1:]) for name, value in found.items()
            }


@given(logits, masks)
def test_the_classes_score_as_their_logits_do(values: np.ndarray, targets: np.ndarray) -> None:
    samples = samples_of(targets)
    floats, classes = {"logits": values}, TASK.finish({"logits": values})
    assert np.array_equal(TASK.labels(classes), FLOATS.labels(floats))
    assert np.array_equal(TASK.score(classes, samples), FLOATS.score(floats, samples))
    assert np.array_equal(TASK.picture(samples[0], classes), FLOATS.picture(samples[0], floats))


def test_of_equal_logits_the_first_wins() -> None:
    assert TASK.finish({"logits": np.zeros((1, 3, 1, 2), np.float32)})["classes"].tolist() == [[[0, 0]]]
    assert TASK.finish({"logits": np.array([[[[1]], [[2]], [[2]]]], np.float32)})["classes"].tolist() == [[[1]]]


def test_a_distance_of_classes_is_not_measured() -> None:
    assert TASK.values(TASK.finish({"logits": np.zeros((1, 3, 4, 6), np.float32)})) == {}


@given(masks)
def test_what_is_no_class_misses_the_true_one_and_no_other(targets: np.ndarray) -> None:
    targets = np.minimum(targets, 2)
    right, wrong = targets.copy(), targets.copy()
    wrong[:, :, 0] = NONE
    scores = TASK.score({"classes": wrong}, samples_of(targets))
    assert scores.sum() == targets.size
    for name, found in TASK.metrics[0].parts(scores).items():
        truth = targets == SPEC.classes.index(name)
        kept = truth[:, :, 1:].sum()
        assert found == (pytest.approx(kept / truth.sum()) if truth.any() else None)
    assert TASK.metrics[0].value(TASK.score({"classes": right}, samples_of(targets))) == 1


def test_what_is_no_class_is_black_in_a_picture() -> None:
    (sample,) = samples_of(np.zeros((1, 1, 2), np.uint8))
    assert TASK.picture(sample, {"classes": np.array([[[NONE, 1]]], np.uint8)}).tolist() == [[[0, 0, 0], [0, 20, 0]]]
