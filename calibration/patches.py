"""Convolutions as matrix products at single positions (im2col, Chellapilla et al. 2006), transposed ones included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from visiondeploy.calibration.graph import attributes
from visiondeploy.types import Array


@dataclass(frozen=True, slots=True)
class Patches:
    """What the output of a Conv or ConvTranspose at a position is computed from.

    For the group g, output channels o and the input channels and places of the kernel together as k

        y[position, g, o] = Σ_k inputs_at(position)[g, k]·matrix(weight)[g, o, k] + bias[g, o]
    """

    transposed: bool
    groups: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def outputs(self) -> int:
        """The number of output channels."""
        return self.shape[1] * self.groups if self.transposed else self.shape[0]

    def matrix(self, weight: Array) -> Array:
        """The weight as groups × out × (in·kernel)."""
        blocks = weight.reshape(self.groups, self.shape[0] // self.groups, self.shape[1], -1)
        if self.transposed:
            blocks = blocks.swapaxes(1, 2)
        return blocks.reshape(self.groups, blocks.shape[1], -1)

    def weight(self, matrix: Array) -> Array:
        """What `matrix` was made from."""
        kernel = int(np.prod(self.shape[2:]))
        blocks = matrix.reshape(self.groups, matrix.shape[1], -1, kernel)
        if self.transposed:
            blocks = blocks.swapaxes(1, 2)
        return np.ascontiguousarray(blocks).reshape(self.shape)

    def inputs_at(self, values: Array, at: Sequence[Array]) -> Array:
        """What the outputs at n positions are computed from: n × groups × (in·kernel).

        `values` is the whole input, N×C×…; `at` has an index array of n for the batch and one for each axis of
        the output behind the channels.
        """
        kernel = self.shape[2:]
        count, places = len(at[0]), np.indices(kernel).reshape(len(kernel), -1)
        there = np.ones((count, places.shape[1]), dtype=bool)
        index = []
        for axis, place in enumerate(places):
            reach, stride = place * self.dilations[axis], self.strides[axis]
            if self.transposed:
                spread = at[axis + 1][:, None] + self.pads[axis] - reach
                there &= spread % stride == 0
                source = spread // stride
            else:
                source = at[axis + 1][:, None] * stride - self.pads[axis] + reach
            side = values.shape[axis + 2]
            there &= (source >= 0) & (source < side)
            index.append(np.clip(source, 0, side - 1))
        found = np.moveaxis(values, 1, -1)[(at[0][:, None], *index)]
        found = np.where(there[..., None], found, np.zeros((), dtype=values.dtype))
        # n × kernel × channels to n × groups × in × kernel.
        return np.ascontiguousarray(found.swapaxes(1, 2)).reshape(count, self.groups, -1)


def patches_of(node: onnx.NodeProto, shape: Sequence[int]) -> Patches | None:
    """The patches of a convolution with a weight of that shape; None where its padding depends on the input."""
    axes = len(shape) - 2
    found = attributes(node)
    if found.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"} or "output_shape" in found:
        return None

    def integers(name: str, default: int, count: int) -> tuple[int, ...]:
        return tuple(found.get(name, (default,) * count))

    return Patches(
        transposed=node.op_type == "ConvTranspose",
        groups=found.get("group", 1),
        shape=tuple(shape),
        strides=integers("strides", 1, axes),
        dilations=integers("dilations", 1, axes),
        pads=integers("pads", 0, 2 * axes),
    )
