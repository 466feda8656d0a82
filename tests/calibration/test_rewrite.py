"""Rewritten graphs compute what they did, and only what matches is rewritten."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.rewrite import rewrite


def model_of(
    nodes: list[onnx.NodeProto], channels: int, constants: dict[str, np.ndarray], shape="nchw"
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", TensorProto.FLOAT, ["batch", channels, "height", "width"])],
        [value("out", TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"image": image}
    )[0]


def transposed(seed: int, size: int, into: int, out: int, bias: bool, relu: bool, **attributes) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    groups = attributes.get("group", 1)
    constants = {"w": rng.normal(size=(into, out // groups, size, size)).astype(np.float32)}
    if bias:
        constants["b"] = rng.normal(size=out).astype(np.float32)
    attributes = {"strides": [size, size], **attributes}
    up = helper.make_node("ConvTranspose", ["image", *constants], ["up" if relu else "out"], name="up", **attributes)
    nodes = [up, helper.make_node("Relu", ["up"], ["out"], name="relu")] if relu else [up]
    return model_of(nodes, into, constants)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(2, 4), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.booleans())
def test_a_transposed_convolution_is_a_convolution_and_a_shuffle(seed, size, into, out, bias, relu) -> None:
    model = transposed(seed, size, into, out, bias, relu)
    image = np.random.default_rng(seed).normal(size=(2, into, 3, 5)).astype(np.float32)
    found = rewrite(model)
    assert [node.op_type for node in found.graph.node] == ["Conv", *["Relu"] * relu, "DepthToSpace"]
    assert found.graph.node[0].name == "up"
    assert np.allclose(run(found, image), run(model, image), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(2, 4), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_where_the_size_is_fixed_the_channels_are_last_in_the_shuffle(seed, size, into, out, relu) -> None:
    model = transposed(seed, size, into, out, True, relu)
    for axis, length in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (3, 5), strict=True):
        axis.dim_value = length
    model = onnx.shape_inference.infer_shapes(model)
    if not relu:
        # What a graph gives has a shape of its own; here it is read on.
        model.graph.node[0].output[0] = "up"
        model.graph.node.append(helper.make_node("Identity", ["up"], ["out"]))
        model = onnx.shape_inference.infer_shapes(model)
    image = np.random.default_rng(seed).normal(size=(2, into, 3, 5)).astype(np.float32)
    found = rewrite(model)
    shuffle = ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]
    assert [node.op_type for node in found.graph.node] == [
        "Conv",
        *["Relu"] * relu,
        *shuffle,
        *["Identity"] * (not relu),
    ]
    assert np.allclose(run(found, image), run(model, image), atol=1e-5)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [1, 1]},
        {"pads": [1, 1, 1, 1]},
        {"output_padding": [1, 1]},
        {"dilations": [2, 2]},
        {"group": 2},
        {"auto_pad": "SAME_UPPER"},
    ],
)
def test_one_of_another_kind_stays(attributes) -> None:
    model = transposed(0, 2, 4, 4, True, False, **attributes)
    assert rewrite(model) == model


def mean(axes: list[int], keep: int) -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["image", "axes"], ["out"], name="mean", keepdims=keep)
    return model_of([node], 4, {"axes": np.array(axes, np.int64)}, "nchw" if keep else "nc")


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_over_an_image_is_pooling(axes) -> None:
    model, image = mean(axes, 1), np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    found = rewrite(model)
    assert [node.op_type for node in found.graph.node] == ["GlobalAveragePool"]
    assert np.allclose(run(found, image), run(model, image), atol=1e-6)


@pytest.mark.parametrize(("axes", "keep"), [([2, 3], 0), ([1], 1), ([1, 2, 3], 1)])
def test_another_mean_stays(axes, keep) -> None:
    model = mean(axes, keep)
    assert rewrite(model) == model


def test_the_model_that_was_given_is_not_changed() -> None:
    model = transposed(0, 2, 4, 4, True, True)
    before = model.SerializeToString()
    rewrite(model)
    assert model.SerializeToString() == before
