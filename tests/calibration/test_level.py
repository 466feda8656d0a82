"""Channels in front of an instance norm get like ranges around zero, and the network gives what it did."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.rewriting import normal, run

from visiondeploy.calibration.equalise import equalise, equalising_scales, scaled_tensors, tensors_to_equalise
from visiondeploy.calibration.graph import GraphIndex
from visiondeploy.calibration.level import levels, tensors_to_level
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.errors import InputError

FEEDS = [{"image": normal(seed, 1, 3, 32, 32)} for seed in range(4)]
ORT = SCHEMES["cpu-onnxruntime"]


def uneven(bias: bool = True, up: bool = False) -> onnx.ModelProto:
    """conv, norm, ReLU, conv: in front of the norm channels are up to 16 times apart, and far from zero."""
    b = graphs.Builder()
    made = b.conv("image", 8, act=None)
    if up:
        half = b.op("MaxPool", b.op("Relu", made), kernel_shape=[2, 2], strides=[2, 2])
        made = b.op("ConvTranspose", half, b.constant(normal(1, 8, 8, 2, 2)), strides=[2, 2])
    model = b.model(b.conv(b.op("Relu", b.normed(made)), graphs.CLASSES, 1, act=None))
    node = next(node for node in model.graph.node if node.op_type == ("ConvTranspose" if up else "Conv"))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    factors = (2.0 ** np.linspace(-3, 1, 8)).reshape((1, -1, 1, 1) if up else (-1, 1, 1, 1))
    weight.CopyFrom(
        onnx.numpy_helper.from_array((onnx.numpy_helper.to_array(weight) * factors).astype(np.float32), weight.name)
    )
    if not bias:
        del node.input[2:]
    elif not up:
        shift = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[2])
        shift.CopyFrom(onnx.numpy_helper.from_array(np.linspace(-5, 20, 8).astype(np.float32), shift.name))
    return model


def levelled(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    statistics = observe(model, tensors_to_equalise(model), FEEDS, threads=1)
    scales = equalising_scales(model, statistics)
    return equalise(model, scales), scales


def sqnr(reference: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum()))


def in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    statistics = observe(model, tensors_to_observe(model), FEEDS, threads=1)
    return quantise(model, {name: min_max(found, ORT.target) for name, found in statistics.items()}, ORT, 7).model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("up", [True, False])
class TestLevelled:
    def test_the_network_gives_what_it_did(self, bias, up) -> None:
        model = uneven(bias, up)
        found, scales = levelled(model)
        assert len(scales) == 1
        for feeds in FEEDS:
            assert sqnr(run(model, feeds["image"]), run(found, feeds["image"])) > 40

    def test_all_channels_have_one_range_around_zero(self, bias, up) -> None:
        found, scales = levelled(uneven(bias, up))
        (tensor,) = scales
        low, high = observe(found, [tensor], FEEDS, threads=1)[tensor].channel_extremes
        assert np.allclose(-low, high, rtol=1e-3)
        assert np.allclose(high, high.max(), rtol=1e-3)

    def test_in_int8_it_is_nearer(self, bias, up) -> None:
        model = uneven(bias, up)
        found, _ = levelled(model)
        image = FEEDS[0]["image"]
        expected = run(model, image)
        assert sqnr(expected, run(in_int8(found), image)) > sqnr(expected, run(in_int8(model), image)) + 3


def test_the_model_that_was_given_is_not_changed() -> None:
    model = uneven(bias=False)
    before = model.SerializeToString()
    levelled(model)
    assert model.SerializeToString() == before


def test_a_channel_that_hardly_moves_is_not_blown_up_and_a_dead_one_stays() -> None:
    model = uneven()
    node = model.graph.node[0]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0], values[1] = 0, values[1] * 1e-6
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    statistics = observe(model, tensors_to_level(model), FEEDS, threads=1)
    ((scale, _),) = levels(model, statistics).values()
    assert scale[0] == scale[1] == 2.0**-6
    assert scale.max() == 1


def test_what_somebody_else_reads_keeps_its_values() -> None:
    b = graphs.Builder()
    made = b.conv("image", 8, act=None)
    model = b.model(b.conv(b.op("Add", b.normed(made), made), graphs.CLASSES, 1, act=None))
    assert tensors_to_level(model) == ()
    b = graphs.Builder()
    assert tensors_to_level(b.model(b.conv(b.normed(b.conv("image", 8)), graphs.CLASSES, 1, act=None))) == ()


def test_of_a_style_network_each_norm_is_behind_one() -> None:
    model = graphs.style()
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert tensors_to_level(model) == tuple(node.input[0] for node in norms)
    index = GraphIndex(model.graph)
    assert all(index.maker(tensor).op_type == "Conv" for tensor in tensors_to_level(model))


def test_what_was_levelled_is_named() -> None:
    model = uneven()
    _, scales = levelled(model)
    assert list(scaled_tensors(model, scales)) == list(scales)


def test_levels_of_another_graph_are_refused() -> None:
    _, scales = levelled(uneven())
    with pytest.raises(InputError, match="no channels to level at the tensor Conv"):
        equalise(graphs.unet(), scales)
    narrow = {tensor: scale[:, :3] for tensor, scale in scales.items()}
    with pytest.raises(InputError, match="has 8 channels, not 3 as the levels say"):
        equalise(uneven(), narrow)
