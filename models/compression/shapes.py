"""The shape of a convolution or linear layer: its parameters and its work, without the layer itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One convolution or linear layer as it costs: channels, kernel, and the size of its output and input.

    Pairs are height and width; `size` is that of its input. A linear layer has kernel (1, 1) and size (1, 1). Padding
    is zeros, the same on both sides, and a transposed convolution has no output padding.

    Raises `ValueError` where channels do not divide into the groups.
    """

    kind: Literal["conv", "transposed", "linear"]
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    size: tuple[int, int]
    bias: bool = False

    def __post_init__(self) -> None:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"no {self.groups} groups of {self.in_channels} channels to {self.out_channels}.")

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of its output, as torch.nn.Conv2d and ConvTranspose2d document them."""
        return self._along(0), self._along(1)

    def _along(self, axis: int) -> int:
        size, stride, padding = self.size[axis], self.stride[axis], self.padding[axis]
        reach = self.dilation[axis] * (self.kernel[axis] - 1)
        if self.kind == "transposed":
            return (size - 1) * stride - 2 * padding + reach + 1
        return (size + 2 * padding - reach - 1) // stride + 1

    @property
    def weights(self) -> int:
        """Values of its weight."""
        return self.in_channels // self.groups * self.out_channels * self.kernel[0] * self.kernel[1]

    @property
    def parameters(self) -> int:
        """Values of its weight and its bias."""
        return self.weights + (self.out_channels if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image. A pixel that a transposed convolution reads meets the whole kernel."""
        height, width = self.size if self.kind == "transposed" else self.output
        return self.weights * height * width

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.groups == self.in_channels == self.out_channels > 1

    def with_channels(self, in_channels: int, out_channels: int) -> Self:
        """The same layer with other channels; depthwise, with as many groups.

        Raises `ValueError` where a depthwise layer would get two numbers of channels, or channels do not divide into
        the groups.
        """
        if not self.depthwise:
            return replace(self, in_channels=in_channels, out_channels=out_channels)
        if in_channels != out_channels:
            raise ValueError(
                f"a depthwise layer has as many channels before as after, not {in_channels} and {out_channels}."
            )
        return replace(self, in_channels=in_channels, out_channels=out_channels, groups=in_channels)

    def as_json(self) -> dict[str, Any]:
        """Its fields, with lists for pairs."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def shape_of(fields: Mapping[str, Any]) -> LayerShape:
    """The shape whose `as_json` these are."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return LayerShape(**given)


def pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Height and width, as torch keeps them of a layer."""
    height, width = sizes
    return height, width
