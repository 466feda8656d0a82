"""Q/DQ schemes: what a runtime wants to see in a graph so that it computes in integers. Imports no runtime.

A new scheme is one entry in `SCHEMES`.
"""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.calibration.observers import AFFINE_UINT8, E4M3, SYMMETRIC_INT8, Target
from visiondeploy.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Scheme:
    """What is quantised, and to which codes.

    `target`           codes of activations; weights are symmetric int8 by output channel, or E4M3 where these are
    `products`         operators with a constant weight that the runtime computes in integers
    `between`          operators that it runs on integers where what they read and write is quantised
    `rounded_results`  whether a product runs in integers only where its result is quantised too; a runtime
                       that can do otherwise takes float operators behind it (an Add, a HardSwish) into its kernel
    `rewritten`        whether operators without an integer kernel are written in those that have one (`rewrite.py`)
    `bias`             whether biases are int32 codes, or stay float
    `weight_bits`      bits of weights on every CPU; None leaves it to the CPU
    """

    target: Target
    products: frozenset[str]
    between: frozenset[str]
    rounded_results: bool = False
    rewritten: bool = False
    bias: bool = True
    weight_bits: int | None = None


# Two files for CPUs, because one costs: deeplabv3_mobilenet_v3_large at 256×256 on one core of an AVX-512 VNNI
# machine takes ONNX Runtime 1.32 44 ms from `cpu`, where it leaves 33 of 70 convolutions in float, and 27 from its
# own; OpenVINO 2026.4 takes 20 from `cpu` and 24 from the other. deeplabv3_resnet50: 295 to 195, and 148 to 153.
# A UNet of base width 32: 80 to 72, and 60 to 63.
SCHEMES: dict[str, Scheme] = {
    "cpu": Scheme(
        AFFINE_UINT8,
        products=frozenset({"Conv", "ConvTranspose"}),
        between=frozenset({"MaxPool", "AveragePool", "Concat", "Add", "Resize"}),
    ),
    "cpu-onnxruntime": Scheme(
        AFFINE_UINT8,
        products=frozenset({"Conv"}),
        between=frozenset(
            {"MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Add", "Mul"}
            | {"Resize", "DepthToSpace", "Transpose", "Reshape", "LeakyRelu", "Sigmoid"}
        ),
        rounded_results=True,
        rewritten=True,
    ),
    # TensorRT's parser takes no int32 bias, no uint8 and no zero point; it moves Q/DQ over pooling by itself.
    "tensorrt": Scheme(SYMMETRIC_INT8, products=frozenset({"Conv"}), between=frozenset(), bias=False, weight_bits=8),
    # The same with a pair on each branch of a skip, too, so that a Concat moves codes. A GPU says which is faster.
    "tensorrt-branches": Scheme(
        SYMMETRIC_INT8, products=frozenset({"Conv"}), between=frozenset({"Concat"}), bias=False, weight_bits=8
    ),
    # TensorRT from SM89 on. TensorRT-RTX 1.7 takes fp8 for convolutions where int8 is taken.
    "tensorrt-fp8": Scheme(E4M3, products=frozenset({"Conv"}), between=frozenset(), bias=False, weight_bits=8),
}


def scheme_of(name: str) -> Scheme:
    """The scheme of that name. Raises `UsageError` for one that is not in the table."""
    if name not in SCHEMES:
        raise unknown_name("scheme", name, SCHEMES)
    return SCHEMES[name]
