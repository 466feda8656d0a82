"""A convolution to or from few channels computes the same a block at a time."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.rewriting import kinds, model_of, normal, run
from onnx import helper

from visiondeploy.calibration.phases import image_in_phases, in_phases


def conv(kernel: tuple[int, int], into: int = 8, out: int = 3, size=None, **attributes) -> onnx.ModelProto:
    constants = {"w": normal(0, out, into // attributes.get("group", 1), *kernel), "b": normal(1, out)}
    return model_of(
        [helper.make_node("Conv", ["image", "w", "b"], ["out"], name="head", **attributes)], into, constants, size
    )


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(2, 9)),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.tuples(st.integers(9, 14), st.integers(9, 14)),
    st.booleans(),
)
def test_any_kernel_border_and_size(kernel, out, pads, size, fixed) -> None:
    model = conv(kernel, out=out, pads=pads, size=size if fixed else None)
    image = normal(2, 2, 8, *size)
    found = in_phases(model)
    assert kinds(found)[:2] == ["Conv", "DepthToSpace"]
    assert found.graph.node[0].name == "head"
    assert np.allclose(run(found, image), run(model, image), atol=1e-3)


@pytest.mark.parametrize(("kernel", "step"), [(3, 2), (9, 4)])
def test_the_block_is_that_with_the_least_work(kernel: int, step: int) -> None:
    found = in_phases(conv((kernel, kernel), pads=[kernel // 2] * 4, size=(16, 16)))
    assert helper.get_node_attr_value(found.graph.node[0], "strides") == [step, step]
    # 16 is a multiple of it: nothing has to be cut.
    assert kinds(found) == ["Conv", "DepthToSpace"]


@pytest.mark.parametrize(
    "changed",
    [
        {"out": 5},
        {"kernel": (1, 1)},
        {"strides": [2, 2]},
        {"dilations": [2, 2]},
        {"out": 4, "group": 2},
        {"auto_pad": "SAME_UPPER"},
    ],
)
def test_one_of_another_kind_stays(changed) -> None:
    model = conv(**{"kernel": (3, 3), **changed})
    assert in_phases(model) == model


def test_a_wide_one_of_an_image_is_rewritten_and_a_small_one_is_not() -> None:
    model = conv((9, 9), into=3, out=8, size=(13, 16))
    found, image = image_in_phases(model), normal(2, 1, 3, 13, 16)
    assert kinds(found)[:2] == ["Conv", "DepthToSpace"]
    assert np.allclose(run(found, image), run(model, image), atol=1e-4)
    assert in_phases(model) == model
    small = conv((3, 3), into=3, out=8)
    assert image_in_phases(small) == small
