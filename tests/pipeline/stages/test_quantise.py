"""The stage around the scheme: which images are observed, what is recorded, what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from kit.pixels import Pixels, PixelTask
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.benchmarks.environment import has_vnni
from visiondeploy.calibration.observers import OBSERVERS
from visiondeploy.calibration.ranges import CalibrationData, NetworkKey, Ranges, parse_ranges
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.errors import InputError, UsageError
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import parse_recipe
from visiondeploy.pipeline.stages.observe import observations, observe
from visiondeploy.pipeline.stages.quantise import quantise
from visiondeploy.pipeline.stages.sample import CalibrationSet, sample
from visiondeploy.types import Sample


@pytest.fixture
def source(tmp_path):
    """A graph of two convolutions for `Pixels`: 3×4×6 to two classes."""
    rng = np.random.default_rng(0)
    constants = {"a.w": rng.normal(size=(8, 3, 3, 3)), "b.w": rng.normal(size=(2, 8, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["image", "a.w"], ["a"], name="a", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "b.w"], ["logits"], name="b"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "pixels",
        [value("image", TensorProto.FLOAT, ["batch", 3, 4, 6])],
        [value("logits", TensorProto.FLOAT, ["batch", 2, 4, 6])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    folder = tmp_path / "fp32"
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, folder / "model.onnx")
    return folder


@dataclass
class Fixed:
    """A split of images that are given."""

    images: list[np.ndarray]
    name: str = "train"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index}", self.images[index], None)


KEY = NetworkKey(weights="a" * 64, graph="b" * 64, preprocessing={})


@pytest.fixture
def run(source, tmp_path):
    """Sample, observe, quantise, one after the other."""
    folder = tmp_path / "int8"
    folder.mkdir()
    told: list[str] = []

    def call(split=None, settings=None, bits: int = 7, scheme: str = "cpu", ranges: Ranges | None = None):
        task, split = PixelTask(), Pixels(20) if split is None else split
        samples = [task.preprocess([Pixels(20)[0]])]
        settings = settings or CalibrationSettings(images=6)

        def report(done: int, total: int, note: str) -> None:
            assert 1 <= done <= total
            told.append(note)

        chosen = CalibrationSet.of(sample(split, task, settings, folder, report))
        observe(source, task, split, chosen, settings.equalise, 1, folder, report)
        data = CalibrationData(dataset="pixels", split=split.name, digest=chosen.digest, images=chosen.names)
        found = quantise(
            source,
            task,
            split,
            chosen,
            observations(folder) if ranges is None else ranges,
            KEY,
            data,
            samples,
            settings,
            SCHEMES[scheme],
            bits,
            1,
            folder,
            report,
        )
        return found, folder, told

    return call


def test_it_records_what_it_did(run) -> None:
    found, folder, told = run()
    assert (found["images"], found["weight_bits"], found["int8"], found["left_in_float"]) == (6, 7, ["a", "b"], {})
    assert found["parity"]["onnx"]["sqnr_db"] > 25
    assert told.count("images observed") == 6
    assert told.count("mse tried") == 1
    assert set(found["layer_sqnr_db"]) == {"a", "b"}
    tried = found["sqnr_db"]
    assert {*OBSERVERS} == {name for name in tried if name in OBSERVERS}
    assert tried[found["observer"]] == max(tried[name] for name in OBSERVERS)
    assert all(tried[name] > tried[found["observer"]] for name in found["repairs"])
    json.dumps(found, allow_nan=False)
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)


def test_the_ranges_can_be_read_and_name_the_images_they_are_from(run) -> None:
    found, folder, _ = run()
    ranges = parse_ranges((folder / "ranges.json").read_bytes(), "ranges.json")
    chosen = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    assert (ranges.network, ranges.observer, ranges.codes) == (KEY, found["observer"], "uint8")
    assert list(ranges.data.images) == list(chosen["images"])
    assert ranges.data.digest == hashlib.sha256((folder / "set.json").read_bytes()).hexdigest()
    assert set(ranges.ranges) == set(ranges.seen) == {"image", "r"}
    for low, high in ranges.ranges.values():
        assert 0 <= low < high


def test_given_ranges_are_taken_as_they_are(run) -> None:
    _, folder, _ = run(settings=CalibrationSettings(images=6, observer="mse"))
    made = parse_ranges((folder / "ranges.json").read_bytes(), "ranges.json")
    given = made.model_copy(update={"ranges": {"image": (0.0, 2.0), "r": (0.0, 1000.0)}})
    found, folder, _ = run(ranges=given)
    assert parse_ranges((folder / "ranges.json").read_bytes(), "ranges.json") == given
    assert "ranges as given" in found["sqnr_db"]
    assert not set(OBSERVERS) & set(found["sqnr_db"])
    assert found["sqnr_db"]["ranges as given"] < 25


def test_a_range_is_that_of_the_images_and_zero_and_of_nothing_else(run) -> None:
    dark = np.full((4, 6, 3), 51, np.uint8)
    bright = np.full((4, 6, 3), 204, np.uint8)
    _, folder, _ = run(Fixed([dark, bright]))
    ranges = json.loads((folder / "ranges.json").read_text(encoding="utf-8"))["ranges"]
    # One of the two is observed, the other one judges.
    assert ranges["image"] == pytest.approx([0, 0.2]) or ranges["image"] == pytest.approx([0, 0.8])


@pytest.mark.parametrize(("bits", "top"), [(7, 63), (8, 127)])
def test_weights_have_the_bits_that_were_asked_for(run, bits, top) -> None:
    _, folder, _ = run(bits=bits)
    weights = [numpy_helper.to_array(t) for t in onnx.load(folder / "model.onnx").graph.initializer]
    codes = [array.astype(int) for array in weights if array.dtype == np.int8 and array.ndim == 4]
    assert [int(np.abs(array).max()) for array in codes] == [top, top]


def test_an_empty_calibration_set_is_said(run) -> None:
    with pytest.raises(InputError, match=r"the calibration set is empty: .*data\.calibration"):
        run(Fixed([]))


def test_an_observer_that_does_not_exist_is_said(run) -> None:
    with pytest.raises(UsageError, match="no observer 'entropie': did you mean 'entropy'"):
        run(settings=CalibrationSettings(observer="entropie"))


@pytest.mark.parametrize(("given", "bits"), [("7", 7), ("8", 8), ('"auto"', 8 if has_vnni() else 7)])
def test_auto_is_what_this_cpu_multiplies_without_saturating(given, bits) -> None:
    text = f'name = "x"\ntask = "segmentation"\n[model]\nname = "unet"\n[calibration]\nweight_bits = {given}\n'
    assert Plan(parse_recipe(text, "x.toml")).weight_bits("cpu") == bits
