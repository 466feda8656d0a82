"""Rewritten graphs compute what they did, and only what matches is rewritten."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.rewriting import model_of, run
from onnx import helper

from visiondeploy.calibration.rewrite import REWRITES, rewrite
from visiondeploy.calibration.schemes import SCHEMES


def mean(axes: list[int], keep: int) -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["image", "axes"], ["out"], name="mean", keepdims=keep)
    return model_of([node], 4, {"axes": np.array(axes, np.int64)}, out="nchw" if keep else "nc")


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_over_an_image_is_pooling(axes) -> None:
    model, image = mean(axes, 1), np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    found = rewrite(model, ["pooling"])
    assert [node.op_type for node in found.graph.node] == ["GlobalAveragePool"]
    assert np.allclose(run(found, image), run(model, image), atol=1e-6)


@pytest.mark.parametrize(("axes", "keep"), [([2, 3], 0), ([1], 1), ([1, 2, 3], 1)])
def test_another_mean_stays(axes, keep) -> None:
    model = mean(axes, keep)
    assert rewrite(model, ["pooling"]) == model


NETWORKS = {"unet": graphs.unet, "mixed": graphs.mixed, "style": graphs.style}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scheme", SCHEMES)
class TestEveryScheme:
    def test_the_rewritten_network_computes_the_same(self, network: str, scheme: str) -> None:
        model, image = NETWORKS[network](), np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
        found = rewrite(model, SCHEMES[scheme].rewrites)
        assert np.allclose(run(found, image), run(model, image), atol=1e-4)

    def test_products_keep_their_names_and_what_was_given_its_bytes(self, network: str, scheme: str) -> None:
        model = NETWORKS[network]()
        before = model.SerializeToString()
        found = rewrite(model, SCHEMES[scheme].rewrites)
        assert model.SerializeToString() == before
        assert products(found) == products(model)

    def test_what_was_rewritten_is_not_rewritten_again(self, network: str, scheme: str) -> None:
        once = rewrite(NETWORKS[network](), SCHEMES[scheme].rewrites)
        assert rewrite(once, SCHEMES[scheme].rewrites) == once


def products(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in {"Conv", "ConvTranspose"}]


def test_every_name_that_a_scheme_has_is_in_the_table() -> None:
    assert {name for scheme in SCHEMES.values() for name in scheme.rewrites} == set(REWRITES)
