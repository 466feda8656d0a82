"""Conversion to float16 of a small style network's graph: convolution, instance norm, softmax."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.pipeline.backends.onnx_file import stored_types
from visiondeploy.pipeline.stages.convert import convert

SHAPE = (1, 3, 16, 16)


class Style:
    """A task whose outputs have no classes."""

    inputs = ("image",)
    outputs = ("styled",)

    def labels(self, outputs) -> None:
        return None

    def values(self, outputs):
        return outputs


def style_net() -> onnx.ModelProto:
    """conv, instance norm, relu, conv; beside it a softmax. The input is large, so that sums pass 65504."""
    rng = np.random.default_rng(0)
    constants = {
        "a.w": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "a.b": rng.normal(0, 0.1, 8),
        "scale": np.ones(8),
        "shift": np.zeros(8),
        "b.w": rng.normal(0, 0.3, (3, 8, 3, 3)),
        "b.b": rng.normal(0, 0.1, 3),
    }
    nodes = [
        helper.make_node("Conv", ["image", "a.w", "a.b"], ["a"], name="a", pads=[1] * 4),
        helper.make_node("InstanceNormalization", ["a", "scale", "shift"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "b.w", "b.b"], ["c"], name="b", pads=[1] * 4),
        helper.make_node("Softmax", ["c"], ["styled"], name="softmax", axis=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "style",
        [value("image", TensorProto.FLOAT, ["batch", *SHAPE[1:]])],
        [value("styled", TensorProto.FLOAT, ["batch", *SHAPE[1:]])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    source, folder = tmp_path_factory.mktemp("fp32"), tmp_path_factory.mktemp("fp16")
    onnx.save_model(style_net(), source / "model.onnx")
    rng = np.random.default_rng(1)
    samples = [{"image": (rng.normal(size=SHAPE) * 200).astype(np.float32)} for _ in range(2)]
    found = convert(source, Style(), samples, samples, 1, folder)
    return found, folder / "model.onnx"


def input_types(model: onnx.ModelProto, name: str) -> set[int]:
    """The types of what a node reads."""
    known = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.input)}
    known |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast":
            known[node.output[0]] = next(a.i for a in node.attribute if a.name == "to")
    node = next(node for node in model.graph.node if node.name == name)
    return {known[value] for value in node.input if value in known}


def test_weights_are_float16(converted) -> None:
    assert stored_types(converted[1]) == {"fp16": 2}


def test_convolutions_read_float16_and_norm_and_softmax_float32(converted) -> None:
    model = onnx.load(converted[1])
    assert input_types(model, "a") == input_types(model, "b") == {TensorProto.FLOAT16}
    assert input_types(model, "norm") == input_types(model, "softmax") == {TensorProto.FLOAT}


def test_inputs_and_outputs_stay_float32(converted) -> None:
    graph = onnx.load(converted[1]).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert types == {"image": TensorProto.FLOAT, "styled": TensorProto.FLOAT}


def test_it_says_what_was_kept_and_how_far_it_is_from_float32(converted) -> None:
    found = converted[0]
    assert found["kept_in_fp32"] == ["InstanceNormalization", "Softmax"]
    parity = found["parity"]["onnx"]
    assert (parity["samples"], parity["pixels"], parity["finite"]) == (2, None, True)
    assert parity["sqnr_db"] > 40
    json.dumps(found, allow_nan=False)


def test_nodes_stand_in_order(converted) -> None:
    """A runtime reads them in order; the converter appends its casts."""
    model = onnx.load(converted[1])
    seen = {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        assert set(filter(None, node.input)) <= seen
        seen |= set(node.output)


class TestValuesBeyondFloat16:
    """Layers that read or make them stay in float32, and are named; the others do not."""

    @pytest.fixture
    @staticmethod
    def found(tmp_path):
        """conv "wide", whose results pass 65504, a conv "back" that brings them down, and a conv "last"."""
        rng = np.random.default_rng(0)
        weights = {
            "wide.w": rng.normal(0, 1e5, (4, 3, 1, 1)),
            "back.w": rng.normal(0, 1e-5, (4, 4, 1, 1)),
            "last.w": rng.normal(0, 1, (3, 4, 1, 1)),
        }
        nodes = [
            helper.make_node("Conv", ["image", "wide.w"], ["w"], name="wide"),
            helper.make_node("Conv", ["w", "back.w"], ["b"], name="back"),
            helper.make_node("Conv", ["b", "last.w"], ["styled"], name="last"),
        ]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            nodes,
            "wide",
            [value("image", TensorProto.FLOAT, SHAPE)],
            [value("styled", TensorProto.FLOAT, SHAPE)],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        source, folder = tmp_path / "fp32", tmp_path / "fp16"
        source.mkdir()
        folder.mkdir()
        onnx.save_model(model, source / "model.onnx")
        samples = [{"image": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(3)]
        return convert(source, Style(), samples, samples, 1, folder), onnx.load(folder / "model.onnx")

    def test_are_told_with_their_layers(self, found) -> None:
        beyond = found[0]["beyond_fp16"]
        assert set(beyond) == {"wide", "back"}
        assert found[0]["largest_value"] == max(beyond.values()) > 65504

    def test_stay_in_float32(self, found) -> None:
        model = found[1]
        assert input_types(model, "wide") == input_types(model, "back") == {TensorProto.FLOAT}
        assert input_types(model, "last") == {TensorProto.FLOAT16}

    def test_are_not_lost_on_the_way(self, found) -> None:
        """Between the two no cast to float16 and back may stand."""
        assert found[0]["parity"]["onnx"]["sqnr_db"] > 40


def test_values_within_float16_are_told_and_nothing_is_kept_for_them(converted) -> None:
    found = converted[0]
    assert found["beyond_fp16"] == {}
    assert 200 < found["largest_value"] < 65504
    assert found["images"] == 2
