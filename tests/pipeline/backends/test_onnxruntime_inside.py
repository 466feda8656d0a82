"""Kernels of ONNX Runtime are found again in the graph by their names."""

from __future__ import annotations

import pytest

from visiondeploy.pipeline.backends.inside import LayerDetail
from visiondeploy.pipeline.backends.onnxruntime_inside import with_kernels
from visiondeploy.types import Layer, TensorSpec


def layer(name: str, kind: str, source: str, made: str) -> LayerDetail:
    """As of a graph, where the type is what it asks for."""
    tensors = tuple(TensorSpec(tensor, "float32", (1,)) for tensor in (source, made))
    return LayerDetail(name, kind, tensors[:1], tensors[1:], compute="int8" if kind == "Conv" else None)


GRAPH = (
    layer("encoder.0.0", "Conv", "image", "getitem"),
    layer("node_relu", "Relu", "getitem", "relu"),
    layer("encoder.0.3", "Conv", "relu", "getitem_3"),
    layer("cast", "Cast", "getitem_3", "logits"),
)


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        ("encoder.0.0", "encoder.0.0"),
        ("encoder.0.0_token_3", "encoder.0.0"),
        ("relu_nchwc", "encoder.0.0"),
        ("InsertedPrecisionFreeCast_relu_nchwc", "encoder.0.0"),
        ("relu_token_7_nchwc", "encoder.0.0"),
        ("node_relu", "encoder.0.0"),
        ("fused encoder.0.3", "encoder.0.3"),
        ("logits_nchwc", "encoder.0.3"),
        ("getitem_3", "encoder.0.3"),
    ],
)
def test_a_kernel_is_the_product_that_its_name_leads_back_to(kernel, found) -> None:
    result = with_kernels(GRAPH, [Layer(kernel, "Conv", "fp32", "cpu")])
    assert {one.name: (one.compute, one.provider) for one in result if one.compute} == {found: ("fp32", "cpu")}
    assert [one.name for one in result] == [one.name for one in GRAPH]


def test_of_a_product_that_no_kernel_names_no_type_is_said() -> None:
    assert [one.compute for one in with_kernels(GRAPH, [Layer("reorder", "Conv", "int8", "cpu")])] == [None] * 4
