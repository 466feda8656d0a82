"""Small ONNX graphs of convolutions, and what the tests of calibration measure on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES

SIZE = 12
Feeds = dict[str, np.ndarray]


class Chain:
    """A graph made step by step: each step reads what the one before made."""

    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensor, self.inputs, self.channels = "image", channels, channels

    def conv(self, name: str, out: int, kernel: int = 3, group: int = 1, **attributes: object) -> Chain:
        fan_in = self.channels // group * kernel**2
        self.constants[f"{name}.w"] = self.rng.normal(
            0, (2 / fan_in) ** 0.5, (out, self.channels // group, kernel, kernel)
        )
        attributes = {"pads": [kernel // 2] * 4} | attributes
        return self._convolution("Conv", name, out, group=group, **attributes)

    def up(self, name: str, out: int, group: int = 1, kernel: int = 2, **attributes: object) -> Chain:
        shape = (self.channels, out // group, kernel, kernel)
        self.constants[f"{name}.w"] = self.rng.normal(0, (2 * group / self.channels) ** 0.5, shape)
        return self._convolution("ConvTranspose", name, out, group=group, **({"strides": [2, 2]} | attributes))

    def _convolution(self, kind: str, name: str, out: int, **attributes: object) -> Chain:
        self.constants[f"{name}.b"] = self.rng.normal(0, 0.2, out)
        self.channels = out
        return self.then(kind, f"{name}.w", f"{name}.b", name=name, **attributes)

    def then(self, kind: str, *more: str, name: str | None = None, **attributes: object) -> Chain:
        name = name or f"{self.tensor}.{kind}"
        self.nodes.append(helper.make_node(kind, [self.tensor, *more], [f"{name}.out"], name=name, **attributes))
        self.tensor = f"{name}.out"
        return self

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", self.inputs, SIZE, SIZE])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in (self.tensor, *outputs)],
            [numpy_helper.from_array(v.astype(np.float32), n) for n, v in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        return model

    def scale(self, first: str, second: str, scales: np.ndarray) -> None:
        """Multiply the outputs of an ungrouped Conv and divide what an ungrouped Conv reads: the same function."""
        self.constants[f"{first}.w"] *= scales[:, None, None, None]
        self.constants[f"{first}.b"] *= scales
        self.constants[f"{second}.w"] /= scales[:, None, None]


def images(count: int = 8, seed: int = 1, channels: int = 3) -> list[Feeds]:
    """Noise around 0.5, so that inputs have a mean as pictures do."""
    rng = np.random.default_rng(seed)
    return [{"image": rng.normal(0.5, 1, (1, channels, SIZE, SIZE)).astype(np.float32)} for _ in range(count)]


def run(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> np.ndarray:
    """The first output for all feeds, one after the other on axis 0."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def int8(model: onnx.ModelProto, feeds: Sequence[Feeds], weight_bits: int = 7) -> onnx.ModelProto:
    """The Q/DQ graph of the CPU scheme, min-max."""
    cpu = SCHEMES["cpu"]
    statistics = observe(model, tensors_to_observe(model), feeds, threads=1)
    return quantise(model, {n: min_max(found, cpu.target) for n, found in statistics.items()}, cpu, weight_bits).model


def sqnr(reference: np.ndarray, found: np.ndarray) -> float:
    """In dB."""
    return float(10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum()))


def signature(model: onnx.ModelProto) -> tuple[list[bytes], list[bytes]]:
    """Inputs and outputs as they are written."""
    graph = model.graph
    return [v.SerializeToString() for v in graph.input], [v.SerializeToString() for v in graph.output]
