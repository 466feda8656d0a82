"""Learned rounding makes a layer's output better than rounding each weight to nearest does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit.chains import Chain, images, int8, run, signature, sqnr
from onnx import numpy_helper

from visiondeploy.calibration.adaround import adaround
from visiondeploy.calibration.patches import patches_of
from visiondeploy.calibration.probe import Probe
from visiondeploy.errors import InputError

COARSE = 4


def network(dead: bool = False) -> onnx.ModelProto:
    chain = Chain().conv("a", 8).then("Relu").conv("b", 8, group=8).then("Relu")
    chain.conv("c", 16, strides=[2, 2]).then("Relu").up("up", 8).then("Relu").conv("head", 4, kernel=1)
    if dead:
        chain.constants["a.w"][2] = 0
        chain.constants["head.w"][:] = 0
    return chain.model()


def smooth(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Pixels like their neighbours, as in pictures: for white noise no rounding is better than to nearest."""
    found = []
    for feed in images(count, seed):
        image = feed["image"]
        for axis in (2, 3):
            image = image + np.roll(image, 1, axis) + np.roll(image, 2, axis)
        found.append({"image": (image / 9).astype(np.float32)})
    return found


def rounded(model: onnx.ModelProto, quantised: onnx.ModelProto, **options: int):
    return adaround(model, quantised, smooth(16, 1), threads=1, **({"iterations": 300} | options))


def test_held_out_errors_fall_in_every_layer_and_in_the_logits() -> None:
    model, held_out = network(), smooth(16, seed=7)
    quantised = int8(model, smooth(16, 1), COARSE)
    before = model.SerializeToString(), quantised.SerializeToString()
    found = rounded(model, quantised)
    assert (model.SerializeToString(), quantised.SerializeToString()) == before
    assert list(found.errors) == ["a", "b", "c", "up", "head"]
    assert all(after < nearest for nearest, after in found.errors.values())
    reference = run(model, held_out)
    assert sqnr(reference, run(found.model, held_out)) > sqnr(reference, run(quantised, held_out)) + 2


def test_only_codes_of_weights_change_and_by_no_more_than_rounding_can() -> None:
    model = network()
    quantised = int8(model, smooth(16, 1), COARSE)
    found = rounded(model, quantised, iterations=50)
    assert signature(found.model) == signature(quantised)
    assert found.model.graph.node == quantised.graph.node
    for ours, theirs in zip(found.model.graph.initializer, quantised.graph.initializer, strict=True):
        if ours.raw_data != theirs.raw_data:
            a, b = (numpy_helper.to_array(tensor).astype(int) for tensor in (ours, theirs))
            assert ours.name.endswith("/weight")
            assert np.abs(a - b).max() == 1
            assert np.abs(a).max() <= np.abs(b).max() == 2 ** (COARSE - 1) - 1


def test_dead_channels_and_zero_weights_give_no_nan() -> None:
    model = network(dead=True)
    found = rounded(model, int8(model, smooth(16, 1), COARSE), iterations=50)
    assert np.isfinite(list(found.errors.values())).all()
    np.testing.assert_allclose(run(found.model, images()), run(model, images()), atol=1e-5)


@pytest.mark.parametrize("kind", ["conv", "up"])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 1], "pads": [1, 0, 2, 1]}, {"dilations": [2, 2], "pads": [2, 1, 1, 2], "strides": [1, 3]}],
)
def test_patches_times_the_matrix_is_what_the_runtime_computes(kind, group, attributes) -> None:
    chain = Chain(channels=4)
    model = getattr(chain, kind)("it", 6, group=group, kernel=3, **attributes).model()
    node, feed = model.graph.node[0], images(1, channels=4)[0]
    weight = chain.constants["it.w"].astype(np.float32)
    found = patches_of(node, weight.shape)
    assert found is not None
    expected = Probe(model, ["it.out"], 1)(feed)["it.out"]
    at = [a.reshape(-1) for a in np.indices((1, *expected.shape[2:]))]
    made = np.einsum("ngk,gok->ngo", found.inputs_at(feed["image"], at), found.matrix(weight))
    made = made.reshape(len(at[0]), -1) + chain.constants["it.b"]
    np.testing.assert_allclose(made.T.reshape(expected.shape[1:]), expected[0], atol=1e-4)
    np.testing.assert_array_equal(found.weight(found.matrix(weight)), weight)


def test_padding_that_depends_on_the_input_is_left_to_others() -> None:
    node = Chain().conv("a", 8).model().graph.node[0]
    node.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert patches_of(node, (8, 3, 3, 3)) is None


def test_no_sample_is_an_error() -> None:
    model = network()
    with pytest.raises(InputError, match="no sample"):
        adaround(model, int8(model, images()), [], threads=1)
