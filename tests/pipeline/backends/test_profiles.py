"""The contract of backends that time each layer, on graphs in float and in integers."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from kit import graphs

from visiondeploy.calibration.observers import Range
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.inside import SingleLayers
from visiondeploy.pipeline.backends.onnx_file import LAYERS
from visiondeploy.pipeline.backends.table import BACKENDS

FEEDS = {"image": np.random.default_rng(0).random((1, 3, 32, 32), np.float32)}
GRAPHS = {"unet": graphs.unet, "mixed": graphs.mixed}
RUNS = 5


@pytest.fixture(params=sorted(name for name, backend in BACKENDS.items() if isinstance(backend, SingleLayers)))
def backend(request):
    found = BACKENDS[request.param]
    reason = found.unavailable() or found.unrunnable()
    if reason:
        pytest.skip(reason)
    return found


@pytest.fixture(params=["fp32", "int8"])
def precision(request) -> str:
    return request.param


@pytest.fixture(params=GRAPHS)
def model(request, backend, precision) -> onnx.ModelProto:
    made = GRAPHS[request.param]()
    if precision == "fp32":
        return made
    ranges = {name: Range(0, 4) for node in made.graph.node for name in (*node.input, *node.output) if name}
    return quantise(made, ranges, SCHEMES[backend.scheme], weight_bits=7).model


@pytest.fixture
def engine(backend, model, tmp_path):
    source, folder = tmp_path / "source", tmp_path / "engine"
    source.mkdir()
    folder.mkdir()
    onnx.save_model(model, source / "model.onnx")
    backend.compile(source, folder)
    return folder


def test_every_product_is_timed_under_its_name(backend, model, engine) -> None:
    products = [node.name for node in model.graph.node if node.op_type in LAYERS]
    timed = [layer.name for layer in backend.profile(engine, 1, FEEDS, RUNS)]
    assert [name for name in timed if name in products] == sorted(products, key=timed.index)


def test_products_are_those_that_are_realised(backend, engine, precision) -> None:
    """As many of each kind and type of arithmetic."""
    realised = [(layer.kind, layer.compute) for layer in backend.realised(engine, 1, FEEDS).layers]
    kinds = {kind for kind, _ in realised}
    timed = [(layer.kind, layer.compute) for layer in backend.profile(engine, 1, FEEDS, RUNS) if layer.kind in kinds]
    assert sorted(timed) == sorted(realised)
    assert precision in {compute for _, compute in timed}


def test_more_than_products_is_timed(backend, model, engine) -> None:
    pools = {node.name for node in model.graph.node if node.op_type == "MaxPool"}
    assert pools <= {layer.name for layer in backend.profile(engine, 1, FEEDS, RUNS)}


def test_layers_take_time_and_together_no_more_than_the_calls(backend, engine) -> None:
    started = time.perf_counter()
    layers = backend.profile(engine, 1, FEEDS, RUNS)
    elapsed = 1000 * (time.perf_counter() - started)
    assert all(layer.milliseconds >= 0 for layer in layers)
    assert all(layer.milliseconds > 0 for layer in layers if "Conv" in layer.kind)
    assert 0 < sum(layer.milliseconds for layer in layers) * RUNS / 2 < elapsed


def test_feeds_stay_as_they_are(backend, engine) -> None:
    feeds = {name: feed.copy() for name, feed in FEEDS.items()}
    feeds["image"].setflags(write=False)
    backend.profile(engine, 1, feeds, runs=1)
    assert np.array_equal(feeds["image"], FEEDS["image"])
