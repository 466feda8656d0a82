"""Times of single layers, on real runtimes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain

import numpy as np
import onnx
import pytest

from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.errors import UsageError
from visiondeploy.models.compression.shapes import LayerShape
from visiondeploy.pipeline.backends.inside import SingleLayers
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.stages import time_layers as stage
from visiondeploy.types import Precision

DENSE = LayerShape("conv", 16, 24, (3, 3), (1, 1), (1, 1), (1, 1), 1, (24, 32))
LINEAR = LayerShape("linear", 64, 10, (1, 1), (1, 1), (0, 0), (1, 1), 1, (1, 1), bias=True)
UP = LayerShape("transposed", 16, 8, (2, 2), (2, 2), (0, 0), (1, 1), 1, (24, 32), bias=True)
SHAPES = {
    "dense": DENSE,
    "bias": replace(DENSE, bias=True),
    "strided": replace(DENSE, stride=(2, 2)),
    "dilated": replace(DENSE, padding=(2, 2), dilation=(2, 2)),
    "oblong": replace(DENSE, kernel=(1, 5), padding=(0, 2), stride=(1, 2)),
    "pointwise": replace(DENSE, kernel=(1, 1), padding=(0, 0)),
    "depthwise": LayerShape("conv", 16, 16, (3, 3), (1, 1), (1, 1), (1, 1), 16, (24, 32)),
    "grouped": replace(DENSE, groups=4),
    "image": replace(DENSE, in_channels=3),
    "one pixel": replace(DENSE, size=(1, 1)),
    "up": UP,
    "up with overlap": replace(UP, kernel=(4, 4), padding=(1, 1)),
    "linear": LINEAR,
}
CONVOLUTIONS = [name for name, shape in SHAPES.items() if shape.kind == "conv"]


@pytest.fixture(params=sorted(name for name, backend in BACKENDS.items() if isinstance(backend, SingleLayers)))
def backend(request):
    found = BACKENDS[request.param]
    reason = found.unavailable() or found.unrunnable()
    if reason:
        pytest.skip(reason)
    return found


def timed(backend, shapes, precision=Precision.FP32, runs=3) -> list[float]:
    scheme = SCHEMES[backend.scheme] if precision is Precision.INT8 else None
    return stage.time_layers(backend, shapes, precision, scheme, 7, runs, 1, lambda *_: None)


def realised(backend, shapes, precision, folder) -> dict[str, str]:
    """The type that the layer of each branch computes in, by its node, for layers whose node the runtime names."""
    engine = stage.engine_of(backend, stage.branches(shapes, precision, SCHEMES[backend.scheme], 7), folder)
    return {layer.name: layer.compute for layer in backend.profile(engine, 1, stage.feeds_of(shapes), 1)}


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_every_shape_has_a_time(backend, precision) -> None:
    times = timed(backend, list(SHAPES.values()), precision)
    assert len(times) == len(SHAPES)
    assert all(0 < time < math.inf for time in times)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
def test_more_work_takes_longer_wherever_it_stands(backend, precision) -> None:
    """The same order in one graph as in two."""
    large, small = replace(DENSE, in_channels=64, out_channels=96), replace(DENSE, bias=True)
    assert large.macs == 16 * small.macs
    assert np.argsort(timed(backend, [small, large], precision, runs=9)).tolist() == [0, 1]
    assert np.argsort(timed(backend, [large, small], precision, runs=9)).tolist() == [1, 0]


def test_several_graphs_give_the_same_order(backend, monkeypatch) -> None:
    shapes = [DENSE.with_channels(width, width) for width in (128, 16, 48)]
    monkeypatch.setattr(stage, "GRAPH_BYTES", 1)
    assert np.argsort(timed(backend, shapes, runs=9)).tolist() == [1, 2, 0]


def test_equal_shapes_are_timed_once(backend) -> None:
    first, _, again = timed(backend, [DENSE, LINEAR, DENSE])
    assert first == again


def test_convolutions_are_realised_in_int8(backend, tmp_path) -> None:
    """As in a build, in which a product that follows takes codes."""
    shapes = list(SHAPES.values())
    found = realised(backend, shapes, Precision.INT8, tmp_path)
    assert {name: found[f"layer_{n}"] for n, name in enumerate(SHAPES) if name in CONVOLUTIONS} == dict.fromkeys(
        CONVOLUTIONS, "int8"
    )
    if backend.name == "openvino":
        assert {found[f"layer_{list(SHAPES).index(name)}"] for name in ("up", "up with overlap")} == {"int8"}


def test_an_upsampling_that_is_rewritten_counts_with_its_shuffle() -> None:
    """ONNX Runtime computes it as a convolution and moves the pixels in kernels of their own."""
    backend = BACKENDS["onnxruntime"]
    model = stage.branches([UP], Precision.INT8, SCHEMES[backend.scheme], 7)
    parts = [node.name for node in model.graph.node if node.name.startswith("layer_0.out/shuffled/")]
    assert parts
    rows = [stage.LayerTime(name, "Transpose", "int8", 1.0) for name in ("layer_0", *parts, "layer_0.end", "layer_01")]
    assert stage.own_time(rows, 0) == 1 + len(parts)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_layer_of_a_branch_is_the_shape(shape) -> None:
    """Size of the result and weights as the shape says; values finite and not all zero."""
    model = stage.branches([shape], Precision.FP32, None, 8)
    model.graph.output.append(onnx.helper.make_tensor_value_info("layer_0.out", onnx.TensorProto.FLOAT, None))
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(["layer_0.out"], stage.feeds_of([shape]))
    assert made.shape == ((1, shape.out_channels) if shape.kind == "linear" else (1, shape.out_channels, *shape.output))
    assert np.isfinite(made).all()
    assert 0.1 < made.std() < 10
    stored = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    assert stored["layer_0.weight"] + stored.get("layer_0.bias", 0) == shape.parameters


def test_graphs_hold_what_fits_and_keep_the_order() -> None:
    shapes = list(SHAPES.values())
    whole = list(stage.chunks(shapes, 2**40))
    some = list(stage.chunks(shapes, 2**18))
    alone = list(stage.chunks(shapes, 1))
    assert [list(chain.from_iterable(found)) for found in (whole, some, alone)] == [shapes] * 3
    assert len(whole) == 1 < len(some) < len(alone) == len(shapes)
    assert list(stage.chunks([], 1)) == []


def test_progress_ends_at_the_end(backend) -> None:
    seen = []
    stage.time_layers(
        backend, [DENSE, DENSE, LINEAR], Precision.FP32, None, 8, 1, 1, lambda *said: seen.append(said[:2])
    )
    assert seen == [(number + 1, stage.ROUNDS) for number in range(stage.ROUNDS)]


def test_no_shapes_take_no_time(backend) -> None:
    assert timed(backend, []) == []


def test_a_backend_that_does_not_time_layers_is_refused() -> None:
    with pytest.raises(
        UsageError, match="backend torchscript does not time single layers: choose onnxruntime or openvino"
    ):
        timed(BACKENDS["torchscript"], [DENSE])


def test_int8_without_a_scheme_is_refused(backend) -> None:
    with pytest.raises(UsageError, match="timed with the scheme of a backend, and none is named"):
        stage.time_layers(backend, [DENSE], Precision.INT8, None, 8, 1, 1, lambda *_: None)
