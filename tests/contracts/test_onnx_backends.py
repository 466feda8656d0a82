"""What holds for every backend that compiles ONNX, on graphs with types and shapes that no network of ours has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.types import Session

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
COUNTS = RNG.integers(-9, 9, (2, 3))


@dataclass(frozen=True)
class Graph:
    """A graph in ONNX's text format, a batch of feeds and what comes out of them."""

    text: str
    feeds: dict[str, np.ndarray]
    results: dict[str, np.ndarray]


GRAPHS = {
    "pixels in": Graph(
        "(uint8[n,4,5,3] x) => (float[n,3,4,5] y) { f = Cast<to=1>(x) y = Transpose<perm=[0,3,1,2]>(f) }",
        {"x": PIXELS},
        {"y": PIXELS.transpose(0, 3, 1, 2).astype(np.float32)},
    ),
    "classes out": Graph(
        "(float[n,3,4,5] x) => (uint8[n,4,5] y) { c = ArgMax<axis=1, keepdims=0>(x) y = Cast<to=2>(c) }",
        {"x": IMAGE},
        {"y": IMAGE.argmax(1).astype(np.uint8)},
    ),
    "int64 out": Graph(
        "(float[n,3,4,5] x) => (int64[n,4,5] y) { y = ArgMax<axis=1, keepdims=0>(x) }",
        {"x": IMAGE},
        {"y": IMAGE.argmax(1)},
    ),
    "int64 in": Graph("(int64[n,3] x) => (int64[n,3] y) { y = Add(x, x) }", {"x": COUNTS}, {"y": 2 * COUNTS}),
    "half": Graph(
        "(float16[n,3,4,5] x) => (float16[n,3,4,5] y) { y = Relu(x) }",
        {"x": IMAGE.astype(np.float16)},
        {"y": IMAGE.astype(np.float16).clip(0)},
    ),
    "bool out": Graph(
        "(float[n,3,4,5] x) => (bool[n,3,4,5] y) <float zero = {0}> { y = Greater(x, zero) }",
        {"x": IMAGE},
        {"y": IMAGE > 0},
    ),
    "two in, two out": Graph(
        "(float[n,3,4,5] x, uint8[n,4,5,3] p) => (float[n,3,4,5] y, uint8[n,4,5,3] q) { y = Relu(x) q = Identity(p) }",
        {"p": PIXELS, "x": IMAGE},
        {"y": IMAGE.clip(0), "q": PIXELS},
    ),
    "an input is an output": Graph(
        "(float[n,3,4,5] x) => (float[n,3,4,5] y, float[n,60] z)"
        "<int64[2] s = {0,-1}> { y = Identity(x) z = Reshape(x, s) }",
        {"x": IMAGE},
        {"y": IMAGE, "z": IMAGE.reshape(2, 60)},
    ),
    "equal outputs": Graph(
        "(float[n,3,4,5] x) => (float[n,3,4,5] y, float[n,3,4,5] z) { y = Relu(x) z = Relu(x) }",
        {"x": IMAGE},
        {"y": IMAGE.clip(0), "z": IMAGE.clip(0)},
    ),
    "an output goes on": Graph(
        "(float[n,3,4,5] x) => (float[n,3,4,5] y, float[n,3,4,5] z) { y = Relu(x) z = Add(y, x) }",
        {"x": IMAGE},
        {"y": IMAGE.clip(0), "z": IMAGE.clip(0) + IMAGE},
    ),
    "a constant out": Graph(
        "(float[n,3,4,5] x) => (float[2] y, float[n,3,4,5] z) <float[2] c = {1,2}> { y = Identity(c) z = Relu(x) }",
        {"x": IMAGE},
        {"y": np.array([1, 2], np.float32), "z": IMAGE.clip(0)},
    ),
    "a number out": Graph(
        "(float[n,3,4,5] x) => (float[] y) { y = ReduceMax<keepdims=0>(x) }", {"x": IMAGE}, {"y": IMAGE.max()[...]}
    ),
    "as many out as there are": Graph(
        "(float[n,3,4,5] x) => (int64[4,k] y) { r = Relu(x) y = NonZero(r) }",
        {"x": IMAGE},
        {"y": np.array(IMAGE.clip(0).nonzero())},
    ),
    "nothing is free": Graph(
        "(float[2,3,4,5] x) => (float[2,3,4,5] y) { y = Relu(x) }", {"x": IMAGE}, {"y": IMAGE.clip(0)}
    ),
}


@pytest.fixture(params=sorted(name for name, backend in BACKENDS.items() if backend.source == "onnx"))
def backend(request):
    found = BACKENDS[request.param]
    if found.unavailable():
        pytest.skip(found.unavailable())
    if found.unrunnable():
        pytest.skip(found.unrunnable())
    return found


@pytest.fixture(params=GRAPHS)
def graph(request) -> Graph:
    return GRAPHS[request.param]


@pytest.fixture
def session(backend, graph, tmp_path) -> Session:
    source, folder = tmp_path / "source", tmp_path / "engine"
    source.mkdir()
    folder.mkdir()
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g {graph.text}')
    onnx.save_model(model, source / "model.onnx")
    backend.compile(source, folder)
    with backend.load(folder, 1) as session:
        yield session


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
    )


def test_what_comes_out_is_right_and_stays_so(graph, session) -> None:
    """In the order of the graph, with its types; also for results that are held while others are written to."""
    held = []
    for _ in range(4):
        found = session.infer(graph.feeds)
        assert same(found, graph.results)
        held.append(found)
        dropped = session.infer(graph.feeds)
        for array in dropped.values():
            array[...] = 0
    assert all(same(found, graph.results) for found in held)


def test_what_went_in_is_not_written_to(graph, session) -> None:
    """Neither by the runtime nor through a result, and a result does not change with what went in."""
    feeds = {name: feed.copy() for name, feed in graph.feeds.items()}
    for _ in range(2):
        found = session.infer(feeds)
        assert same(feeds, {name: graph.feeds[name] for name in feeds})
        assert not any(np.shares_memory(array, feed) for array in found.values() for feed in feeds.values())


def test_batches_of_any_size_in_any_order(graph, session) -> None:
    """Results of one size are not those of another that was computed before."""
    sizes = (1, 2, 1, 3, 5, 3, 1) if isinstance(session.inputs[0].shape[0], str) else (2, 2)
    for size in sizes:
        found = session.infer({name: resized(feed, size) for name, feed in graph.feeds.items()})
        for spec in session.outputs:
            if spec.shape and isinstance(spec.shape[0], str):
                assert np.array_equal(found[spec.name], resized(graph.results[spec.name], size))


def resized(batch: np.ndarray, size: int) -> np.ndarray:
    """The batch cut off, or repeated as often as it takes."""
    return np.resize(batch, (size, *batch.shape[1:]))
