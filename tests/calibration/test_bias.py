"""Bias correction takes off the mean error that rounded weights make."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit.chains import Chain, images, int8, run, signature, sqnr

from visiondeploy.calibration.bias import correct_biases
from visiondeploy.errors import InputError

COARSE = 4


def network(seed: int = 0, dead: bool = False) -> onnx.ModelProto:
    chain = Chain(seed=seed).conv("a", 16).then("Relu").conv("b", 16, group=16).then("Relu")
    chain.conv("c", 16, strides=[2, 2]).then("Relu").up("up", 8).then("Relu").conv("head", 4, kernel=1)
    if dead:
        chain.constants["a.w"][2] = 0
        chain.constants["head.w"][:] = 0
    return chain.model()


def mean_error(model: onnx.ModelProto, quantised: onnx.ModelProto, feeds) -> float:
    return float(np.abs((run(quantised, feeds) - run(model, feeds)).mean(axis=(0, 2, 3))).max())


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_error_of_held_out_logits_vanishes_and_sqnr_rises(seed) -> None:
    model, held_out = network(seed), images(32, seed=5)
    quantised = int8(model, images(), COARSE)
    found = correct_biases(model, quantised, images(32), threads=1)
    assert mean_error(model, found.model, held_out) < 0.1 * mean_error(model, quantised, held_out)
    reference = run(model, held_out)
    assert sqnr(reference, run(found.model, held_out)) > sqnr(reference, run(quantised, held_out))


def test_it_says_what_it_changed_and_changes_nothing_else() -> None:
    model = network()
    quantised = int8(model, images(), COARSE)
    before = model.SerializeToString(), quantised.SerializeToString()
    found = correct_biases(model, quantised, images(), threads=1)
    assert (model.SerializeToString(), quantised.SerializeToString()) == before
    assert list(found.changes) == ["a", "b", "c", "up", "head"]
    assert min(found.changes.values()) > 0
    assert found.skipped == ()
    assert signature(found.model) == signature(quantised)
    assert found.model.graph.node == quantised.graph.node
    ours, theirs = ({t.name: t.raw_data for t in m.graph.initializer} for m in (found.model, quantised))
    assert {name for name in ours if ours[name] != theirs[name]} == {f"{n}/bias" for n in found.changes}


def test_dead_channels_give_no_nan() -> None:
    model = network(dead=True)
    quantised = int8(model, images(), COARSE)
    found = correct_biases(model, quantised, images(), threads=1)
    assert np.isfinite(list(found.changes.values())).all()
    np.testing.assert_allclose(run(found.model, images()), run(model, images()), atol=1e-5)


def test_a_bias_in_float_is_corrected_and_a_convolution_without_one_is_named() -> None:
    model = network()
    quantised = int8(model, images(), COARSE)
    for node in quantised.graph.node:
        if node.name == "a":
            node.input[2] = "a.b"
        if node.name == "c":
            del node.input[2:]
    bias = next(t for t in model.graph.initializer if t.name == "a.b")
    quantised.graph.initializer.append(bias)
    found = correct_biases(model, quantised, images(), threads=1)
    assert found.skipped == ("c",)
    assert found.changes["a"] > 0
    assert next(t for t in found.model.graph.initializer if t.name == "a.b").raw_data != bias.raw_data


def test_no_sample_is_an_error() -> None:
    model = network()
    with pytest.raises(InputError, match="no sample"):
        correct_biases(model, int8(model, images()), [], threads=1)
