"""Which layers stay in float so that a limit holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.chains import Chain, images, run, sqnr

from visiondeploy.calibration.bias import correct_biases
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.calibration.sensitivity import Subject, fewest_in_float


def chain() -> Chain:
    """Four layers, of which "bad" has channels so far apart that one scale does not serve them."""
    made = Chain(seed=2).conv("a", 8).then("Relu").conv("bad", 8).then("Relu").conv("b", 8).then("Relu")
    made.conv("head", 4, kernel=1)
    made.scale("a", "bad", np.geomspace(1 / 300, 300, 8))
    return made


def subject(scheme: str = "cpu", corrected: bool = False) -> Subject:
    model, kind = chain().model(), SCHEMES[scheme]
    seen = observe(model, tensors_to_observe(model), images(), threads=1)
    ranges = {name: min_max(found, kind.target) for name, found in seen.items()}
    made = quantise(model, ranges, kind, 7)
    int8 = correct_biases(model, made.model, images(), 1).model if corrected else made.model
    return Subject(model, int8, ranges, kind, 7, made.int8)


def quality(model) -> float:
    held = images(4, seed=8)
    return sqnr(run(chain().model(), held), run(model, held))


def find(given: Subject, holds):
    return fewest_in_float(given, quality, holds, lambda note: None)


@pytest.mark.parametrize("scheme", ["cpu", "tensorrt"])
def test_the_layer_that_hurts_is_the_one_that_is_kept(scheme) -> None:
    given = subject(scheme)
    whole = quality(given.int8)
    found = find(given, lambda layers: quality(given.keeping(layers).model) > whole + 6)
    assert found.layers == ("bad",)
    assert min(found.alone, key=found.alone.__getitem__) == "bad"
    assert given.keeping(frozenset(found.layers)).left_in_float == {"bad": "kept in float as asked"}


def test_nothing_is_ranked_where_the_limit_holds_at_once() -> None:
    found = find(subject(), lambda layers: True)
    assert (found.layers, found.alone, [one.layers for one in found.tried]) == ((), {}, [frozenset()])


def test_with_every_layer_in_float_any_limit_holds() -> None:
    given = subject()
    found = find(given, lambda layers: False)
    assert set(found.layers) == set(given.products)
    np.testing.assert_allclose(run(given.keeping(frozenset(found.layers)).model, images(2)), run(given.fp32, images(2)))


def test_repairs_of_the_layers_that_stay_in_int8_are_kept() -> None:
    given = subject(corrected=True)
    made = given.keeping(frozenset({"bad"})).model
    constants = {tensor.name: tensor for tensor in given.int8.graph.initializer}
    biases = [tensor for tensor in made.graph.initializer if tensor.name.endswith("/bias")]
    assert len(biases) == 3
    assert all(tensor == constants[tensor.name] for tensor in biases)
    assert constants["a/bias"] != {t.name: t for t in subject().int8.graph.initializer}["a/bias"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_no_set_is_measured_twice_and_no_needed_layer_is_missing(count, data) -> None:
    names = tuple(f"layer{number}" for number in range(count))
    needed = data.draw(st.frozensets(st.sampled_from(names)))
    order = {name: float(place) for place, name in enumerate(data.draw(st.permutations(names)))}
    measured: list[frozenset[str]] = []

    class Named:
        """A subject whose graphs are the layers that they keep."""

        products = names

        def keeping(self, layers):
            return type("Made", (), {"model": layers})

    def holds(layers: frozenset[str]) -> bool:
        measured.append(layers)
        return needed <= layers

    def alone(layers: frozenset[str]) -> float:
        return order[next(iter(frozenset(names) - layers))]

    found = fewest_in_float(Named(), alone, holds, lambda note: None)
    assert set(found.layers) == set(needed)
    assert len(measured) == len(set(measured)) <= 2 * len(names) + 2
    assert measured[0] == frozenset()
