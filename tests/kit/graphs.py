"""Small ONNX graphs with random weights, as exporters write them: batch norm folded, shapes inferred."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5


class Builder:
    """Appends nodes; each method returns the name of the tensor that it makes."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._channels = {"image": 3}

    def op(self, kind: str, *inputs: str, channels: int | None = None, **attributes: object) -> str:
        """Any node of one output; as many channels as its first input where nothing else is said."""
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [f"{name}.out"], name=name, **attributes))
        self._channels[f"{name}.out"] = self._channels[inputs[0]] if channels is None else channels
        return f"{name}.out"

    def constant(self, value: np.ndarray) -> str:
        name = f"constant{len(self._constants)}"
        self._constants[name] = value
        return name

    def conv(
        self, source: str, out: int, size: int = 3, act: str | None = "Relu", pads: int | None = None, **attributes: int
    ) -> str:
        """A convolution that keeps the size, depthwise for group=channels, and an activation."""
        into = self._channels[source] // attributes.get("group", 1)
        weight = self.constant(self._normal((2 / (into * size * size)) ** 0.5, out, into, size, size))
        bias = self.constant(self._normal(0.1, out))
        around = [size // 2 if pads is None else pads] * 4
        made = self.op("Conv", source, weight, bias, channels=out, pads=around, **attributes)
        return self.op(act, made) if act else made

    def normed(self, source: str) -> str:
        """An instance norm with a scale and shift of its own for each channel."""
        channels = self._channels[source]
        factors = [self.constant(1 + self._normal(0.1, channels)), self.constant(self._normal(0.1, channels))]
        return self.op("InstanceNormalization", source, *factors)

    def up(self, source: str) -> str:
        """A transposed convolution that doubles the size and halves the channels."""
        channels = self._channels[source]
        weight = self.constant(self._normal(channels**-0.5, channels, channels // 2, 2, 2))
        bias = self.constant(self._normal(0.1, channels // 2))
        return self.op("ConvTranspose", source, weight, bias, channels=channels // 2, strides=[2, 2])

    def concat(self, *sources: str) -> str:
        return self.op("Concat", *sources, channels=sum(self._channels[name] for name in sources), axis=1)

    def resize(self, source: str, mode: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        transform = "asymmetric" if mode == "nearest" else "half_pixel"
        return self.op("Resize", source, "", scales, mode=mode, coordinate_transformation_mode=transform)

    def model(self, output: str) -> onnx.ModelProto:
        """The model that gives `output` as "logits"."""
        self._nodes.append(helper.make_node("Identity", [output], ["logits"], name="logits"))
        for node in self._nodes[:-1]:
            if output in node.output:
                node.output[0] = "logits"
                self._nodes.pop()
                break
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            "small",
            [value("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
            [value("logits", TensorProto.FLOAT, ["batch", CLASSES, 32, 32])],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    def _normal(self, deviation: float, *shape: int) -> np.ndarray:
        return self._rng.normal(0, deviation, shape).astype(np.float32)


def unet(width: int = 16, depth: int = 2) -> onnx.ModelProto:
    """A UNet with transposed convolutions: 5·depth + 3 products."""
    b = Builder()
    x, skips = "image", []
    for level in range(depth):
        x = b.conv(b.conv(x, width << level), width << level)
        skips.append(x)
        x = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.conv(b.conv(x, width << depth), width << depth)
    for level in reversed(range(depth)):
        x = b.concat(skips.pop(), b.up(x))
        x = b.conv(b.conv(x, width << level), width << level)
    return b.model(b.conv(x, CLASSES, 1, act=None))


def mixed() -> onnx.ModelProto:
    """What MobileNetV3 and ResNet are made of: separable, squeeze-and-excitation, residual; 12 products."""
    b = Builder()
    x = b.conv("image", 16, act="HardSwish")
    # Inverted residual with squeeze-and-excitation (Howard et al. 2019, arXiv:1905.02244)
    y = b.conv(b.conv(x, 32, 1), 32, act="HardSwish", group=32)
    axes = b.constant(np.array([2, 3], np.int64))
    gate = b.conv(b.conv(b.op("ReduceMean", y, axes, keepdims=1), 8, 1), 32, 1, act="HardSigmoid")
    x = b.op("Add", b.conv(b.op("Mul", y, gate), 16, 1, act=None), x)
    x = b.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    # Residual block with a projection (He et al. 2016, arXiv:1512.03385)
    shortcut = b.conv(x, 24, 1, act=None)
    y = b.conv(b.conv(x, 24), 24, act=None)
    x = b.op("Relu", b.op("Add", y, shortcut))
    limits = [b.constant(np.array(limit, np.float32)) for limit in (0, 6)]
    x = b.op("Clip", b.conv(b.resize(x, "nearest"), 16, act=None), *limits)
    x = b.conv(b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), 16, act="LeakyRelu")
    return b.model(b.resize(b.conv(x, CLASSES, 1, act=None), "linear"))


def style() -> onnx.ModelProto:
    """A style transfer network in small: reflection padding, instance norm, a residual block; 6 products.

    Johnson et al. 2016 (arXiv:1603.08155), with upsampling by resize and convolution (Odena et al. 2016).
    """
    b = Builder()

    def block(source: str, out: int, size: int, act: str | None = "Relu") -> str:
        edge = b.constant(np.array([0, 0, size // 2, size // 2] * 2, np.int64))
        made = b.normed(b.conv(b.op("Pad", source, edge, mode="reflect"), out, size, act=None, pads=0))
        return b.op(act, made) if act else made

    x = block("image", 8, 9)
    x = block(b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), 16, 3)
    x = b.op("Add", block(block(x, 16, 3), 16, 3, act=None), x)
    x = block(b.resize(x, "nearest"), 8, 3)
    return b.model(b.op("Sigmoid", b.conv(x, CLASSES, 9, act=None)))
