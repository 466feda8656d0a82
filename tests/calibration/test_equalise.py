"""Cross-layer equalisation changes the weights and nothing that anybody computes with them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.chains import Chain, images, int8, run, signature, sqnr

from visiondeploy.calibration.equalise import equalise, equalising_scales, scaled_tensors, tensors_to_equalise
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.probe import Probe
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.errors import InputError


def scales_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return equalising_scales(model, observe(model, tensors_to_equalise(model), images(), threads=1))


def equalised(model: onnx.ModelProto) -> onnx.ModelProto:
    return equalise(model, scales_of(model))


def ill_scaled(reach: float = 4, seed: int = 0) -> onnx.ModelProto:
    chain = Chain(seed=seed).conv("a", 8).then("Relu").conv("b", 8).then("Relu").conv("head", 4, kernel=1)
    for first, second in (("a", "b"), ("b", "head")):
        chain.scale(first, second, 2 ** chain.rng.uniform(-reach, reach, 8))
    return chain.model()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    reach=st.floats(0, 8),
    between=st.sampled_from([(), ("Relu",), ("LeakyRelu",), ("PRelu",), ("Relu", "MaxPool"), ("AveragePool", "Relu")]),
    second=st.sampled_from(["conv", "grouped", "depthwise", "up"]),
    width=st.sampled_from([4, 8]),
    kernel=st.sampled_from([1, 3]),
)
def test_the_float_graph_computes_the_same(seed, reach, between, second, width, kernel) -> None:
    chain = Chain(seed=seed).conv("a", width, kernel)
    chain.constants["slope"] = np.full((1, 1, 1), 0.3)

    def activate() -> None:
        for kind in between:
            more = {"PRelu": ("slope",)}.get(kind, ())
            chain.then(kind, *more, **({"kernel_shape": [2, 2]} if kind.endswith("Pool") else {}))

    activate()
    if second == "up":
        chain.up("b", width)
    else:
        chain.conv("b", width, kernel, group={"conv": 1, "grouped": 2, "depthwise": width}[second])
    activate()
    chain.conv("head", 3, kernel=1)
    chain.constants["a.w"] *= 2 ** chain.rng.uniform(-reach, reach, (width, 1, 1, 1))
    model = chain.model()
    before = model.SerializeToString()
    found = equalised(model)
    reference = run(model, images(2, seed=2))
    assert np.abs(run(found, images(2, seed=2)) - reference).max() < 1e-4 * np.abs(reference).max()
    assert signature(found) == signature(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("seed", range(3))
def test_it_undoes_what_makes_channels_unlike(seed) -> None:
    model, held_out = ill_scaled(seed=seed), images(seed=3)
    found = equalised(model)
    assert len(scales_of(model)) == 2
    reference = run(model, held_out)
    gain = sqnr(reference, run(int8(found, images()), held_out)) - sqnr(reference, run(int8(model, images()), held_out))
    assert gain > 5


def test_channels_that_are_alike_are_left_as_they_are() -> None:
    model = ill_scaled(reach=0)
    assert scales_of(model) == {}
    assert equalised(model).graph.initializer == model.graph.initializer


def test_three_in_a_row_with_a_depthwise_one_between() -> None:
    chain = Chain().conv("a", 8).then("Relu").conv("b", 8, group=8).then("Relu").conv("head", 4, kernel=1)
    chain.scale("a", "b", np.ones(1))
    scales = 2 ** chain.rng.uniform(-5, 5, 8)
    chain.constants["a.w"] *= scales[:, None, None, None]
    chain.constants["b.w"] /= scales[:, None, None, None]
    chain.constants["a.b"] *= scales
    model = chain.model()
    found = equalised(model)
    assert tensors_to_equalise(model) == ("a.out.Relu.out", "b.out.Relu.out")
    assert "a.out.Relu.out" in scales_of(model)
    ranges = observe(found, ["a.out.Relu.out"], images(), 1)["a.out.Relu.out"].channel_extremes[1]
    np.testing.assert_allclose(ranges, ranges[0], rtol=1e-4)


def test_what_is_read_twice_or_given_or_clipped_is_left_alone() -> None:
    chain = Chain().conv("a", 8).then("Relu").conv("b", 8)
    assert tensors_to_equalise(chain.model()) == ("a.out.Relu.out",)
    assert tensors_to_equalise(chain.model("a.out.Relu.out")) == ()
    assert tensors_to_equalise(chain.model("a.out")) == ()
    chain = Chain().conv("a", 8).then("Relu").conv("b", 8).then("Add", "a.out.Relu.out")
    assert tensors_to_equalise(chain.model()) == ()
    chain = Chain().conv("a", 8)
    chain.constants |= {"low": np.zeros(()), "high": np.full((), 6.0)}
    assert tensors_to_equalise(chain.then("Clip", "low", "high").conv("b", 8).model()) == ()


def test_a_weight_that_two_convolutions_share_is_left_alone() -> None:
    chain = Chain(channels=8).conv("a", 8).then("Relu").conv("b", 8).then("Relu").conv("c", 8)
    model = chain.model()
    next(node for node in model.graph.node if node.name == "b").input[1] = "a.w"
    assert tensors_to_equalise(model) == ()


def test_dead_channels_and_zero_weights_keep_their_scale() -> None:
    chain = Chain().conv("a", 8).then("Relu").conv("b", 8).then("Relu").conv("head", 4, kernel=1)
    chain.scale("a", "b", 2.0 ** np.arange(-4, 4))
    chain.constants["a.w"][1], chain.constants["a.b"][1] = 0, 0
    chain.constants["a.b"][2] = -1e4
    chain.constants["b.w"][:, 3] = 0
    chain.constants["head.w"][:] = 0
    model = chain.model()
    assert tuple(scales_of(model)) == ("a.out.Relu.out",)
    np.testing.assert_allclose(run(equalised(model), images()), run(model, images()), rtol=1e-5)


def test_statistics_of_nothing_are_refused() -> None:
    model = ill_scaled()
    with pytest.raises(InputError, match="no image was given"):
        equalising_scales(model, {name: TensorStatistics() for name in tensors_to_equalise(model)})


def test_it_is_known_which_tensors_are_divided_by_what() -> None:
    chain = Chain().conv("a", 8).then("Relu").then("MaxPool", kernel_shape=[2, 2]).conv("b", 8).then("Relu")
    chain.conv("c", 8).then("Sigmoid").conv("head", 4, kernel=1)
    model, scales = chain.model(), {}
    for tensor in tensors_to_equalise(model):
        scales[tensor] = 2 ** chain.rng.uniform(-3, 3, 8)
    divided = scaled_tensors(model, scales)
    assert list(divided) == ["a.out", "a.out.Relu.out", "a.out.Relu.out.MaxPool.out", "b.out", "b.out.Relu.out"]
    every = [node.output[0] for node in model.graph.node]
    (feeds,) = images(1)
    before, after = (Probe(graph, every, 1)(feeds) for graph in (model, equalise(model, scales)))
    for tensor in every:
        scale = divided.get(tensor, np.ones(1))
        np.testing.assert_allclose(after[tensor] * scale.reshape(1, -1, 1, 1), before[tensor], rtol=1e-3, atol=1e-5)


def test_scales_of_another_graph_are_refused() -> None:
    model = ill_scaled()
    with pytest.raises(InputError, match=r"no channels to scale at the tensor elsewhere"):
        scaled_tensors(model, {"elsewhere": np.ones(8)})
    with pytest.raises(InputError, match=r"no channels to scale at the tensor elsewhere"):
        equalise(model, {"elsewhere": np.ones(8)})
    with pytest.raises(InputError, match=r"a\.out\.Relu\.out has 8 channels, not 4"):
        equalise(model, {"a.out.Relu.out": np.ones(4)})
