"""A nearest resize and the convolution behind it compute the same as one transposed convolution."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kit.rewriting import kinds, model_of, normal, run
from onnx import helper

from visiondeploy.calibration.upsampling import upsampled

ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def up(
    factor: int, kernel: tuple[int, int], border: str | None = None, sides=(0, 0, 0, 0), way=ASYMMETRIC, **attributes
) -> onnx.ModelProto:
    """Resize, Pad if there is a border (top, left, bottom, right), Conv."""
    constants = {
        "scales": np.array([1, 1, factor, factor], np.float32),
        "w": normal(0, 3, 4 // attributes.get("group", 1), *kernel),
        "b": normal(1, 3),
    }
    nodes = [helper.make_node("Resize", ["image", "", "scales"], ["large"], mode="nearest", **way)]
    if border is not None:
        constants["sides"] = np.array([0, 0, *sides[:2], 0, 0, *sides[2:]])
        nodes.append(helper.make_node("Pad", ["large", "sides"], ["padded"], mode=border))
    nodes.append(helper.make_node("Conv", [nodes[-1].output[0], "w", "b"], ["out"], name="up", **attributes))
    return model_of(nodes, 4, constants)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 4),
    st.tuples(st.integers(2, 5), st.integers(2, 5)),
    st.sampled_from([None, "constant", "edge", "reflect"]),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_any_factor_kernel_and_border(factor, kernel, border, sides) -> None:
    assume(all(side < kernel[number % 2] for number, side in enumerate(sides)))
    assume(border in (None, "constant") or max(sides) < factor)
    model = up(factor, kernel, border, sides) if border else up(factor, kernel, pads=sides)
    image = normal(2, 2, 4, 3, 5)
    found = upsampled(model)
    assert kinds(found)[-1] == "ConvTranspose"
    assert "Resize" not in kinds(found)
    assert found.graph.node[-1].name == "up"
    assert np.allclose(run(found, image), run(model, image), atol=1e-4)


@pytest.mark.parametrize(
    ("way", "factor"),
    [
        ({"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}, 3),
        ({"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}, 2),
        ({"coordinate_transformation_mode": "asymmetric"}, 2),
    ],
)
def test_every_way_to_copy_a_pixel(way, factor) -> None:
    model, image = up(factor, (3, 3), way=way, pads=[1] * 4), normal(0, 1, 4, 5, 4)
    found = upsampled(model)
    assert kinds(found) == ["ConvTranspose"]
    assert np.allclose(run(found, image), run(model, image), atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        # A 1×1 convolution copies less than it multiplies, behind the resize as in front of it.
        up(2, (1, 1)),
        up(2, (3, 3), strides=[2, 2]),
        up(2, (3, 3), dilations=[2, 2]),
        up(2, (3, 3), auto_pad="SAME_UPPER"),
        # Reflected by two the border of a pixel copied to two is of two pixels.
        up(2, (5, 5), "reflect", [2] * 4),
        up(2, (3, 3), "wrap", [1] * 4),
        up(2, (3, 3), "edge", [1] * 4, pads=[1] * 4),
        up(3, (3, 3), way={"coordinate_transformation_mode": "asymmetric"}),
        up(2, (3, 3), way={"coordinate_transformation_mode": "align_corners"}),
    ],
)
def test_what_does_something_else_stays(model) -> None:
    assert upsampled(model) == model


def test_what_somebody_else_reads_stays() -> None:
    model = up(2, (3, 3), pads=[1] * 4)
    model.graph.node.append(helper.make_node("Neg", ["large"], ["negative"]))
    model.graph.output.append(helper.make_tensor_value_info("negative", onnx.TensorProto.FLOAT, list("nchw")))
    assert upsampled(model) == model
