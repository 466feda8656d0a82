"""Layers go back to float until the metric holds."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from kit.pixels import CLASSES, Pixels, PixelTask
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.ranges import CalibrationData, NetworkKey, Ranges
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.stages.mix import Part, mix

SPANS = {"image": (0.0, 1.0), "wide": (0.0, 300.0)}


@pytest.fixture
def folders(tmp_path):
    """Brightness to classes in three layers; the middle one's input has a range far beyond its values."""
    weights = {
        "wide": np.asarray([[1, 0, 0], [0, 1, 0]]),
        "narrow": np.eye(2),
        "head": np.asarray([[-1.0, 0.0], [1.0, 0.0]]),
    }
    biases = {"wide": [0, 0], "narrow": [0, 0], "head": [0.5, -0.5]}
    constants = {f"{name}.w": np.asarray(value, float)[:, :, None, None] for name, value in weights.items()}
    constants |= {f"{name}.b": np.asarray(value, float) for name, value in biases.items()}
    nodes, tensor = [], "image"
    for name in weights:
        out = "logits" if name == "head" else name
        nodes.append(helper.make_node("Conv", [tensor, f"{name}.w", f"{name}.b"], [out], name=name))
        tensor = out
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "pixels",
        [value("image", TensorProto.FLOAT, ["batch", 3, 4, 6])],
        [value("logits", TensorProto.FLOAT, ["batch", len(CLASSES), 4, 6])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    fp32, int8, out = (tmp_path / name for name in ("fp32", "int8", "out"))
    for folder in (fp32, int8, out):
        folder.mkdir()
    onnx.save_model(model, fp32 / "model.onnx")
    ranges = Ranges(
        network=NetworkKey(weights="a" * 64, graph="b" * 64, preprocessing={}),
        data=CalibrationData(dataset="pixels", split="train", digest="c" * 64, images=("000",)),
        observer="min-max",
        codes="uint8",
        ranges=SPANS | {"narrow": (0.0, 1.0)},
    )
    made = quantise(model, ranges.by_tensor, SCHEMES["cpu"], 7)
    onnx.save_model(made.model, int8 / "model.onnx")
    (int8 / "ranges.json").write_text(ranges.to_json(), encoding="utf-8")
    meta = {"weight_bits": 7, "int8": list(made.int8), "left_in_float": {}, "observer": "min-max"}
    return fp32, int8, out, meta


def run(folders, max_drop: float):
    fp32, int8, out, meta = folders
    task, split = PixelTask(), Pixels(30)
    samples = [task.preprocess([split[0]])]
    told: list[str] = []
    judged = Part(split, tuple(range(10, 30)))
    found = mix(
        fp32, int8, meta, task, judged, samples, max_drop, SCHEMES["cpu"], 1, out, lambda _, __, note: told.append(note)
    )
    return found, onnx.load(out / "model.onnx"), told


def test_the_layer_that_costs_the_metric_stays_in_float_and_is_named(folders) -> None:
    found, model, told = run(folders, max_drop=2.0)
    assert found["mixed"]["kept_in_float"] == ["narrow"]
    assert found["int8"] == ["wide", "head"]
    assert found["left_in_float"]["narrow"].startswith("kept in float to lose at most 2 points (")
    first, *_ = found["mixed"]["tried"]
    assert (first["in_float"], first["holds"], first["delta"] < -10) == (0, False, True)
    assert any(one["holds"] and one["in_float"] == 1 and one["ci95"][0] > -2 for one in found["mixed"]["tried"])
    assert found["parity"]["onnx"]["pixels"] > 0.98
    assert "layer 3 of 3 alone in int8" in told
    assert found["observer"] == "min-max"
    json.dumps(found, allow_nan=False)
    onnx.checker.check_model(model, full_check=True)


def test_a_limit_that_holds_leaves_every_layer_in_int8(folders) -> None:
    found, model, _ = run(folders, max_drop=100.0)
    assert found["mixed"]["kept_in_float"] == []
    assert found["int8"] == ["wide", "narrow", "head"]
    assert model.graph == onnx.load(folders[1] / "model.onnx").graph


def test_a_part_of_a_split_is_a_split_of_those_images() -> None:
    part = Part(Pixels(9), (2, 7))
    assert (part.name, len(part), [item.name for item in (part[0], part[1])]) == ("val", 2, ["002", "007"])
