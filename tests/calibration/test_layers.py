from __future__ import annotations

import math

import pytest
from kit.chains import Chain, images, int8, run, sqnr

from visiondeploy.calibration.layers import layer_sqnr
from visiondeploy.calibration.watching import AT_ONCE


def chain(layers: int) -> Chain:
    made = Chain(seed=1)
    for number in range(layers):
        made.conv(f"layer{number}", 6).then("Relu")
    return made.conv("head", 3, kernel=1)


def test_every_layer_has_its_own_and_the_last_has_that_of_the_output() -> None:
    model = chain(AT_ONCE + 1).model()
    quantised = int8(model, images())
    found = layer_sqnr(model, quantised, images(3, seed=5), threads=1)
    assert list(found) == [*(f"layer{number}" for number in range(AT_ONCE + 1)), "head"]
    held = images(3, seed=5)
    assert found["head"] == pytest.approx(sqnr(run(model, held), run(quantised, held)), abs=0.5)


def test_noise_adds_up_from_layer_to_layer() -> None:
    model = chain(3).model()
    found = list(layer_sqnr(model, int8(model, images(), weight_bits=7), images(3, seed=5), threads=1).values())
    assert found[0] > found[2] + 1


def test_equal_graphs_have_no_noise() -> None:
    model = chain(1).model()
    assert set(layer_sqnr(model, model, images(1), threads=1).values()) == {math.inf}
