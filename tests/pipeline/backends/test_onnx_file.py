"""The types of the products in an ONNX graph."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.rtx import FEEDS, NETWORKS, save

from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.onnx_file import Product, products, stored_types
from visiondeploy.types import Precision


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_of_a_network_in_one_precision(network, precision, tmp_path) -> None:
    path = save(NETWORKS[network](), precision, tmp_path) / "model.onnx"
    found = products(path)
    assert {(product.wanted, product.stored) for product in found} == {(precision, precision)}
    assert stored_types(path) == {precision: len(found)}
    assert [product.name for product in found] == [
        node.name for node in onnx.load(path).graph.node if "Conv" in node.op_type
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("build", [graphs.unet, graphs.mixed])
def test_of_a_scheme_those_are_in_codes_that_it_lists(scheme, build, tmp_path) -> None:
    """What is read from the graph is what the quantiser says that it did."""
    model, chosen = build(), SCHEMES[scheme]
    statistics = observe(model, tensors_to_observe(model), FEEDS, threads=1)
    result = quantise(model, {n: min_max(f, chosen.target) for n, f in statistics.items()}, chosen, 7)
    onnx.save_model(result.model, tmp_path / "model.onnx")
    found, kind = products(tmp_path / "model.onnx"), "fp8" if chosen.target.code == "fp8" else "int8"
    assert {product.name for product in found if product.wanted == kind} == set(result.int8)
    assert Counter(product.wanted for product in found)["fp32"] == len(result.left_in_float)


def test_of_two_activations(tmp_path) -> None:
    b = graphs.Builder()
    flat = b.op("Reshape", "image", b.constant(np.array([0, 3, 1024], np.int64)))
    square = b.op("MatMul", flat, b.op("Transpose", flat, perm=[0, 2, 1]))
    back = b.op("Reshape", b.op("MatMul", square, flat), b.constant(np.array([0, 3, 32, 32], np.int64)))
    model = b.model(b.conv(back, graphs.CLASSES, act=None))
    del model.graph.value_info[:]
    onnx.save_model(model, tmp_path / "model.onnx")
    first, second, convolution = products(tmp_path / "model.onnx")
    assert (first, second.stored) == (Product("MatMul2", "MatMul", "fp32", None), None)
    assert second.wanted == "fp32"
    assert convolution.stored == "fp32"


def test_weights_that_are_only_kept_in_half_are_computed_in_single(tmp_path) -> None:
    b = graphs.Builder()
    half = b.constant(np.ones((graphs.CLASSES, 3, 1, 1), np.float16))
    model = b.model(b.op("Conv", "image", b.op("Cast", half, channels=0, to=1), channels=graphs.CLASSES))
    onnx.save_model(model, tmp_path / "model.onnx")
    (found,) = products(tmp_path / "model.onnx")
    assert (found.wanted, found.stored) == ("fp32", "fp16")
