"""A transposed convolution as a convolution and a shuffle computes the same, whatever kernel, stride and borders."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kit.rewriting import kinds, model_of, normal, run
from onnx import helper

from visiondeploy.calibration.shuffles import written_out
from visiondeploy.calibration.transposed import as_convolutions, signed_as_convolutions


def transposed(
    kernel: int, into: int = 4, out: int = 3, bias: bool = True, relu: bool = False, size=None, **attributes
) -> onnx.ModelProto:
    constants = {"w": normal(0, into, out // attributes.get("group", 1), kernel, kernel)}
    if bias:
        constants["b"] = normal(1, out)
    attributes = {"strides": [2, 2], **attributes}
    up = helper.make_node("ConvTranspose", ["image", *constants], ["up" if relu else "out"], name="up", **attributes)
    nodes = [up, helper.make_node("Relu", ["up"], ["out"], name="relu")] if relu else [up]
    return model_of(nodes, into, constants, size)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.booleans())
def test_a_kernel_as_wide_as_its_stride_is_1x1_and_nothing_is_cut(stride, into, out, bias, relu) -> None:
    model = transposed(stride, into, out, bias, relu, strides=[stride, stride])
    image = normal(2, 2, into, 3, 5)
    found = as_convolutions(model)
    assert kinds(found) == ["Conv", *["Relu"] * relu, "DepthToSpace"]
    assert found.graph.node[0].name == "up"
    assert np.allclose(run(found, image), run(model, image), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 4),
    st.integers(1, 7),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_any_kernel_stride_and_border(stride, kernel, pads, more, relu, fixed) -> None:
    assume(max(more) < stride)
    assume(all(3 * stride + kernel - pads[axis] - pads[axis + 2] + more[axis] > 0 for axis in range(2)))
    size = (4, 5) if fixed else None
    model = transposed(kernel, relu=relu, size=size, strides=[stride, stride], pads=pads, output_padding=more)
    image = normal(2, 2, 4, 4, 5)
    found = as_convolutions(model)
    # Borders that would cut more than the kernel reaches stay.
    if kinds(found)[0] == "Conv" or max(pads) < kernel:
        assert kinds(found)[0] == "Conv"
    assert np.allclose(run(found, image), run(model, image), atol=1e-4)
    assert np.allclose(run(written_out(found), image), run(model, image), atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "attributes", "size", "cut"),
    [
        (2, {}, (1, 1), False),
        # Johnson et al. 2016, and what a resize with a convolution becomes.
        (3, {"pads": [1] * 4, "output_padding": [1, 1]}, (2, 2), False),
        (4, {"pads": [1] * 4}, (2, 2), True),
        (4, {"pads": [3] * 4}, (2, 2), True),
    ],
)
def test_the_window_is_the_smallest(kernel, attributes, size, cut) -> None:
    found = as_convolutions(transposed(kernel, **attributes))
    assert found.graph.initializer[-1].name.endswith("axes") is cut
    weight = next(t for t in found.graph.initializer if t.name.endswith("/weight"))
    assert tuple(weight.dims[2:]) == size
    assert ("Slice" in kinds(found)) is cut


@pytest.mark.parametrize("attributes", [{"strides": [1, 1]}, {"strides": [2, 3]}, {"dilations": [2, 2]}])
@pytest.mark.parametrize("more", [{}, {"auto_pad": "SAME_UPPER"}])
def test_one_of_another_kind_stays(attributes, more) -> None:
    model = transposed(2, **attributes, **more)
    assert as_convolutions(model) == model


def test_one_with_groups_stays() -> None:
    model = transposed(2, out=4, group=2)
    assert as_convolutions(model) == model


def test_of_what_is_never_negative_it_may_stay() -> None:
    weight = {"w": normal(0, 4, 3, 2, 2)}
    up = helper.make_node("ConvTranspose", ["read", "w"], ["out"], name="up", strides=[2, 2])
    for before, signed in ((["Relu"], False), (["Relu", "MaxPool"], False), (["Neg"], True), (["Relu", "Neg"], True)):
        nodes, source = [], "image"
        for number, kind in enumerate(before):
            made = "read" if number == len(before) - 1 else f"{number}"
            nodes.append(
                helper.make_node(kind, [source], [made], **({"kernel_shape": [1, 1]} if kind == "MaxPool" else {}))
            )
            source = made
        found = signed_as_convolutions(model_of([*nodes, up], 4, weight))
        assert ("ConvTranspose" in kinds(found)) is not signed
