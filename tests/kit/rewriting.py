"""Graphs of a few nodes over an image, and what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def model_of(
    nodes: Sequence[onnx.NodeProto],
    channels: int,
    constants: dict[str, np.ndarray],
    size: tuple[int, int] | None = None,
    out: str = "nchw",
) -> onnx.ModelProto:
    """Nodes from "image" N×channels×H×W to "out", whose axes are free where no size is given."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value("image", TensorProto.FLOAT, ["batch", channels, *(size or ("height", "width"))])],
        [value("out", TensorProto.FLOAT, list(out) if size is None else None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of an image."""
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: image})[0]


def kinds(model: onnx.ModelProto) -> list[str]:
    """The operators in their order."""
    return [node.op_type for node in model.graph.node]


def normal(seed: int, *shape: int) -> np.ndarray:
    """Float32 of a shape."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
