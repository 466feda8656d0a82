"""Largest values of a graph's tensors, against numpy on the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.extremes import largest_values, largest_weights
from visiondeploy.errors import InputError


def model_of(weight):
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["scaled"], name="scale"),
        helper.make_node("Relu", ["scaled"], ["y"], name="relu"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([weight], dtype=np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5), min_size=1, max_size=4))
def test_are_those_over_all_samples(samples) -> None:
    samples = [np.array(sample, dtype=np.float32) for sample in samples]
    found = largest_values(model_of(-2.0), [{"x": sample} for sample in samples], 1)
    together = -2 * np.concatenate(samples)
    assert found == {"scaled": np.abs(together).max(), "y": max(0.0, together.max())}


def test_a_value_that_is_not_finite_names_its_tensor() -> None:
    with pytest.raises(InputError, match="tensor scaled: "):
        largest_values(model_of(1e38), [{"x": np.array([1.0, 1e38], dtype=np.float32)}], 1)


def test_weights_are_measured_by_magnitude() -> None:
    assert largest_weights(model_of(-7.5)) == {"w": 7.5}
