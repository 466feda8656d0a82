"""A kernel loses what only meets padding, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.kernels import crop_kernels


def conv(size: tuple[int | str, int | str], kernel: tuple[int, int] = (3, 3), **attributes: object) -> onnx.ModelProto:
    """A convolution of two channels to three over an image of that size."""
    weight = np.random.default_rng(0).normal(size=(3, 2, *kernel)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["out"], name="conv", **attributes)],
        "g",
        [value("image", TensorProto.FLOAT, ["n", 2, *size])],
        [value("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
        # As the exporter has it, which says the shapes of constants too.
        value_info=[value("w", TensorProto.FLOAT, list(weight.shape))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def kernel_of(model: onnx.ModelProto) -> tuple[int, ...]:
    return numpy_helper.to_array(model.graph.initializer[0]).shape[2:]


@pytest.mark.parametrize(
    ("size", "dilation", "kernel"),
    [((32, 32), 31, (3, 3)), ((32, 32), 32, (1, 1)), ((23, 30), 24, (1, 3)), ((23, 30), 36, (1, 1))],
)
def test_a_dilation_as_wide_as_the_image_leaves_the_middle(size, dilation, kernel) -> None:
    model = conv(size, dilations=[dilation] * 2, pads=[dilation] * 4)
    found = crop_kernels(model)
    assert kernel_of(found) == kernel
    image = np.random.default_rng(1).normal(size=(2, 2, *size)).astype(np.float32)
    assert np.allclose(run(found, image), run(model, image), atol=1e-5)


axis = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 9), st.integers(1, 3), *[st.integers(0, 12)] * 2)


@settings(max_examples=100, deadline=None)
@given(axis, axis)
def test_what_is_computed_stays_the_same(rows, columns) -> None:
    size, kernel, dilations, strides, before, after = zip(rows, columns, strict=True)
    if any(n + b + a < d * (k - 1) + 1 for n, k, d, _, b, a in (rows, columns)):
        return  # the kernel does not fit
    model = conv(size, kernel, dilations=dilations, strides=strides, pads=[*before, *after])
    image = np.random.default_rng(1).normal(size=(1, 2, *size)).astype(np.float32)
    found = crop_kernels(model)
    assert np.prod(kernel_of(found)) <= np.prod(kernel)
    assert np.allclose(run(found, image), run(model, image), atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        conv(("height", "width"), dilations=[40, 40], pads=[40] * 4),
        conv((8, 8), pads=[1] * 4),
        conv((8, 8), dilations=[9, 9], auto_pad="SAME_UPPER"),
    ],
    ids=["a free size", "every tap is used", "padding by the runtime"],
)
def test_it_stays_as_it_is(model) -> None:
    assert crop_kernels(model) == model


def test_a_weight_that_another_reads_stays() -> None:
    model = conv((8, 8), dilations=[9, 9], pads=[9] * 4)
    assert kernel_of(crop_kernels(model)) == (1, 1)
    model.graph.node.append(helper.make_node("Conv", ["image", "w"], ["other"], name="other"))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    assert crop_kernels(model) == model
