"""Stage `time_layers`: how long convolutions and linear layers of given shapes take on a backend, measured.

A table of measured times says what a network of these layers costs where multiply-accumulates do not (NetAdapt, Yang
et al. 2018, arXiv:1804.03230; HALP, Shen et al. 2022, arXiv:2110.10811). A layer is timed as it stands in a network:

    input ─► [Q/DQ] ─► layer ─► ReLU ─► [Q/DQ] ─► MaxPool 1×1, stride as wide as the image ─► Conv 1×1 ─► output

It reads and writes what the precision wants, because a product that follows reads that in turn. Only the layer's own
kernel counts, with what is fused into it: the ends are made up. Each shape is a branch of a graph, and where there
are several graphs they take turns, so that drift of the machine meets them alike.

The 23 layers of a UNet of base width 32 at 360×480 in int8 add up to 0.99 of what they take in the network itself,
those of a separable one to 1.00 (OpenVINO 2026.4, one core, AVX-512 VNNI; of each the fastest of four rounds).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiondeploy.calibration.schemes import Scheme
from visiondeploy.errors import UsageError
from visiondeploy.models.compression.shapes import LayerShape
from visiondeploy.pipeline.backends.base import Backend, require
from visiondeploy.pipeline.backends.inside import LayerTime, SingleLayers
from visiondeploy.pipeline.stages.convert import in_half
from visiondeploy.types import Array, Precision

if TYPE_CHECKING:
    import onnx

# 1: the kernel of the layer in a branch of its own
# 2: the least of several rounds
# 3: layers rewritten as in a build
VERSION = 3
TOOLS = ("onnx", "onnxruntime", "numpy")

OPSET = 20
ROUNDS = 3
"""In how many of them each graph has its turn."""
GRAPH_BYTES = 256 * 2**20
"""What inputs, results and weights of one graph may take as float32; a shape that takes more has a graph alone."""

INPUT_HIGH, RESULT_HIGH = 1.0, 4.0
"""Where made-up ranges end. They begin at zero, as behind a ReLU."""


def time_layers(
    backend: Backend,
    shapes: Sequence[LayerShape],
    precision: Precision,
    scheme: Scheme | None,
    weight_bits: int,
    runs: int,
    threads: int,
    report: Callable[[int, int, str], None],
) -> list[float]:
    """Milliseconds of each shape for one image: the least of `ROUNDS` medians of `runs` runs. Equal shapes are one.

    The graphs take turns, so that a disturbance of seconds does not lie on all that one of them times; and what takes
    longer for it than at another time was disturbed.

    `scheme` and `weight_bits` are those of the build, for int8. Where the runtime has no integer kernel for a layer,
    its float kernel is timed, as in a build. Raises `UsageError` for a backend that does not time layers or a
    precision that needs a scheme and has none, `BackendUnavailable` for one that it does not run.
    """
    if not isinstance(backend, SingleLayers):
        from visiondeploy.pipeline.backends.table import BACKENDS

        others = " or ".join(name for name, other in BACKENDS.items() if isinstance(other, SingleLayers))
        raise UsageError(f"backend {backend.name} does not time single layers: choose {others}.")
    require(backend, precision)
    distinct = list(dict.fromkeys(shapes))
    found: dict[LayerShape, float] = {}
    parts = list(chunks(distinct, GRAPH_BYTES))
    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as scratch:
        engines = [
            engine_of(backend, branches(chunk, precision, scheme, weight_bits), Path(scratch) / str(number))
            for number, chunk in enumerate(parts)
        ]
        for turn, (chunk, engine) in enumerate(list(zip(parts, engines, strict=True)) * ROUNDS):
            times = backend.profile(engine, threads, feeds_of(chunk), runs)
            for index, shape in enumerate(chunk):
                found[shape] = min(own_time(times, index), found.get(shape, math.inf))
            report(turn + 1, len(parts) * ROUNDS, "graphs of layers, timed in turns")
    return [found[shape] for shape in shapes]


def chunks(shapes: Sequence[LayerShape], limit: int) -> Iterator[list[LayerShape]]:
    """The shapes in order, in lists whose tensors take up to `limit` bytes, or of one shape."""
    chunk: list[LayerShape] = []
    taken = 0
    for shape in shapes:
        size = 4 * (math.prod(_input(shape)) + shape.out_channels * math.prod(shape.output) + shape.weights)
        if chunk and taken + size > limit:
            yield chunk
            chunk, taken = [], 0
        chunk.append(shape)
        taken += size
    if chunk:
        yield chunk


def branches(
    shapes: Sequence[LayerShape], precision: Precision, scheme: Scheme | None, weight_bits: int
) -> onnx.ModelProto:
    """A graph with a branch for each shape, in a precision. The layer of branch n is node "layer_n".

    Raises `UsageError` where codes need a scheme and there is none.
    """
    from visiondeploy.calibration.observers import Range
    from visiondeploy.calibration.qdq import quantise

    fp32 = _fp32(shapes)
    if precision is Precision.FP16:
        return in_half(fp32)
    if not precision.quantised:
        return fp32
    if scheme is None:
        raise UsageError(f"layers in {precision} are timed with the scheme of a backend, and none is named.")
    ranges = {value.name: Range(0.0, INPUT_HIGH) for value in fp32.graph.input}
    ranges |= {name: Range(0.0, RESULT_HIGH) for node in fp32.graph.node for name in node.output}
    return quantise(fp32, ranges, scheme, weight_bits).model


def feeds_of(shapes: Sequence[LayerShape]) -> dict[str, Array]:
    """What the graph of these shapes is fed: values from 0 to 1, the same each time."""
    generator = np.random.default_rng(1)
    return {f"input_{n}": generator.random(_input(shape), dtype=np.float32) for n, shape in enumerate(shapes)}


def _input(shape: LayerShape) -> tuple[int, ...]:
    """The shape of what a layer reads, for one image."""
    return (1, shape.in_channels) if shape.kind == "linear" else (1, shape.in_channels, *shape.size)


def _fp32(shapes: Sequence[LayerShape]) -> onnx.ModelProto:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, constants = [], []
    for number, shape in enumerate(shapes):
        made, weights = _branch(number, shape, generator)
        nodes += made
        constants += [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info(f"input_{n}", TensorProto.FLOAT, _input(s)) for n, s in enumerate(shapes)],
        [helper.make_tensor_value_info(f"output_{n}", TensorProto.FLOAT, None) for n in range(len(shapes))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    # Rewrites for a runtime ask for sizes.
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _branch(
    number: int, shape: LayerShape, generator: np.random.Generator
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes of one branch, and their constants by name."""
    from onnx import helper

    name, output = f"layer_{number}", f"output_{number}"
    constants = {f"{name}.weight": _weight(shape, generator)}
    if shape.bias:
        constants[f"{name}.bias"] = generator.normal(0, 0.1, shape.out_channels).astype(np.float32)
    inputs = [f"input_{number}", *constants]
    if shape.kind == "linear":
        return [
            helper.make_node("Gemm", inputs, [f"{name}.out"], name=name, transB=1),
            helper.make_node("Relu", [f"{name}.out"], [output], name=f"{name}.relu"),
        ], constants
    # Of the ends as little as possible: one pixel is read, one value is made.
    constants[f"{name}.end.weight"] = generator.random((1, shape.out_channels, 1, 1), dtype=np.float32)
    attributes: dict[str, Any] = {
        "kernel_shape": shape.kernel,
        "strides": shape.stride,
        "pads": (*shape.padding, *shape.padding),
        "dilations": shape.dilation,
        "group": shape.groups,
    }
    kind = "Conv" if shape.kind == "conv" else "ConvTranspose"
    return [
        helper.make_node(kind, inputs, [f"{name}.out"], name=name, **attributes),
        helper.make_node("Relu", [f"{name}.out"], [f"{name}.relu.out"], name=f"{name}.relu"),
        helper.make_node(
            "MaxPool",
            [f"{name}.relu.out"],
            [f"{name}.pixel.out"],
            name=f"{name}.pixel",
            kernel_shape=(1, 1),
            strides=shape.output,
        ),
        helper.make_node("Conv", [f"{name}.pixel.out", f"{name}.end.weight"], [output], name=f"{name}.end"),
    ], constants


def _weight(shape: LayerShape, generator: np.random.Generator) -> Array:
    """Random values with which results are about as large as inputs (He et al. 2015, arXiv:1502.01852), float32."""
    into, out = shape.in_channels, shape.out_channels
    sizes: tuple[int, ...] = (out, into // shape.groups, *shape.kernel)
    if shape.kind == "linear":
        sizes = (out, into)
    elif shape.kind == "transposed":
        sizes = (into, out // shape.groups, *shape.kernel)
    fan_in = into // shape.groups * math.prod(shape.kernel)
    return (generator.standard_normal(sizes, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)).astype(np.float32)


def engine_of(backend: Backend, model: onnx.ModelProto, scratch: Path) -> Path:
    """The folder with the engine of a graph, below `scratch`, which is made."""
    from visiondeploy.pipeline.stages.export import save_onnx

    source, folder = scratch / "graph", scratch / "engine"
    source.mkdir(parents=True)
    folder.mkdir()
    save_onnx(model, source / "model.onnx")
    backend.compile(source, folder)
    return folder


def own_time(times: Sequence[LayerTime], number: int) -> float:
    """Milliseconds of the layer of a branch: its kernel, and the shuffle that is part of it where it was rewritten."""
    name = f"layer_{number}"
    parts = (f"{name}.out/shuffled/", f"{name}.out/phases/")
    own = [time.milliseconds for time in times if time.name == name or time.name.startswith(parts)]
    if not own:
        raise RuntimeError(f"no kernel of the profile is that of {name}")
    return sum(own)
