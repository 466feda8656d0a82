"""Style transfer with somebody else's ONNX file: its names, its layout, and what can be judged of it."""

from __future__ import annotations

import numpy as np
import pytest
from kit.features import known
from kit.pictures import painting, photograph

from visiondeploy.errors import UsageError
from visiondeploy.models.features import features_digest
from visiondeploy.models.spec import ConstantFeed, GraphSpec, InputSpec, NetworkSpec, PictureOutput, StyleSpec
from visiondeploy.models.tasks.style_graph import StyleGraph
from visiondeploy.models.tasks.table import task_of
from visiondeploy.types import Array, Precision, Sample

SAMPLE = Sample("disc", photograph(64, 96), painting())
PICTURE = PictureOutput(name="painted", layout="NHWC", low=0.0, high=1.0)
WEIGHTS = ConstantFeed(name="w", dtype="float32", shape=(3,), values=(0.5, 0.25, 0.25))
COUNT = ConstantFeed(name="count", dtype="int64", shape=(1, 2), values=7.0, batched=True)


@pytest.fixture(scope="module", autouse=True)
def features(tmp_path_factory):
    """A feature network that is small and at hand."""
    with known(tmp_path_factory.mktemp("features")) as name:
        yield name


def spec_of(*, judged: bool = True, painted: bool = True, **graph: object) -> NetworkSpec:
    """A file that takes N×64×96×3 `photo` and gives `painted`."""
    style = StyleSpec(
        names=("waves",) if painted else (),
        digests=("0" * 64,) if painted else (),
        features="tiny" if judged else None,
        weights=features_digest("tiny") if judged else None,
        size=64,
    )
    known_of = {"layout": "NHWC", "outputs": ("painted", "more"), "picture": PICTURE, **graph}
    return NetworkSpec(
        architecture="onnx",
        task="style",
        style=style,
        input=InputSpec(height=64, width=96, mean=(0, 0, 0), std=(1, 1, 1)),
        graph=GraphSpec.model_validate(
            {"file": "p.onnx", "sha256": "ab" * 32, "precision": Precision.FP32, "image": "photo", **known_of}
        ),
    )


def given(image: Array) -> dict[str, Array]:
    """H×W×3 uint8 as the file gives it."""
    return {"painted": image[None].astype(np.float32) / 255, "more": np.ones((1, 2))}


def test_a_description_reads_back() -> None:
    spec = spec_of(constants=(WEIGHTS, COUNT))
    assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec
    assert isinstance(task_of(spec), StyleGraph)


def test_images_go_in_as_the_graph_has_them() -> None:
    feeds = task_of(spec_of()).preprocess([SAMPLE])
    assert np.array_equal(feeds["photo"][0], SAMPLE.image.astype(np.float32) / 255)
    channels_first = task_of(spec_of(layout="NCHW")).preprocess([SAMPLE])["photo"]
    assert np.array_equal(channels_first.transpose(0, 2, 3, 1), feeds["photo"])
    assert channels_first.flags.c_contiguous


def test_constants_go_in_with_each_batch() -> None:
    task = task_of(spec_of(constants=(WEIGHTS, COUNT)))
    assert task.inputs == ("photo", "w", "count")
    feeds = task.preprocess([SAMPLE, SAMPLE])
    assert (feeds["w"].dtype, feeds["w"].tolist()) == (np.float32, [0.5, 0.25, 0.25])
    assert (feeds["count"].dtype, feeds["count"].tolist()) == (np.int64, [[7, 7], [7, 7]])
    shapes = {spec.name: spec.shape for spec in task.input_specs}
    assert shapes == {"photo": ("batch", 64, 96, 3), "w": (3,), "count": ("batch", 2)}


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_picture_is_shown_from_black_to_white(low, high) -> None:
    task = task_of(spec_of(picture=PICTURE.model_copy(update={"low": low, "high": high})))
    raw = SAMPLE.image[None].astype(np.float32) / 255 * (high - low) + low
    assert np.array_equal(task.picture(SAMPLE, {"painted": raw}), SAMPLE.image)


class TestWhatIsJudged:
    def test_all_of_it_with_a_painting_and_features(self) -> None:
        task = task_of(spec_of())
        outputs = given(SAMPLE.image)
        rows = task.score(outputs, [SAMPLE], given(task.moved(SAMPLE).image))
        found = {metric.name: metric.value(rows) for metric in task.metrics}
        assert list(found) == ["style_loss", "content_loss", "flicker"]
        assert found["content_loss"] == pytest.approx(0, abs=1e-9)
        assert found["flicker"] == 0
        assert found["style_loss"] > 0.01
        assert set(task.likeness(outputs, outputs)) == {"ssim", "psnr_db", "features"}

    def test_no_style_without_a_painting(self) -> None:
        task = task_of(spec_of(painted=False))
        bare = Sample("disc", SAMPLE.image, None)
        rows = task.score(given(bare.image), [bare], given(bare.image))
        assert [metric.name for metric in task.metrics] == ["content_loss", "flicker"]
        assert all(np.isfinite(metric.value(rows)) for metric in task.metrics)
        assert task.truth(bare).max() == 0

    def test_no_content_without_features(self) -> None:
        task = task_of(spec_of(judged=False, painted=False))
        rows = task.score(given(SAMPLE.image), [SAMPLE], given(SAMPLE.image))
        assert [metric.name for metric in task.metrics] == ["flicker"]
        assert np.isfinite(task.metrics[0].value(rows))
        assert set(task.likeness(given(SAMPLE.image), given(SAMPLE.image))) == {"ssim", "psnr_db"}

    def test_nothing_without_a_picture(self) -> None:
        task = task_of(spec_of(picture=None))
        assert (task.metrics, task.moved(SAMPLE), task.tiled) == ((), None, False)
        assert task.score({}, [SAMPLE]).shape == (1, 0)
        assert task.likeness({}, {}) == {}
        with pytest.raises(UsageError, match=r"p\.onnx gives painted, more and no picture"):
            task.picture(SAMPLE, {})


def test_of_segmentation_nothing_is_known_yet() -> None:
    other = spec_of().model_copy(update={"task": "segmentation"})
    with pytest.raises(UsageError, match="built for style so far, not for segmentation: give --task style"):
        task_of(other)
