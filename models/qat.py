"""Fake quantisation: a network that computes in floats what its Q/DQ graph computes in codes, and can be trained.

    x̂ = (clip(round(x / scale) + zero_point, lowest, highest) − zero_point)·scale

The rounding has the gradient of the identity, and none where it clips: the straight-through estimator (Bengio et al.
2013, arXiv:1308.3432; for convolutions Jacob et al. 2018, arXiv:1712.05877). What is rounded is what
`calibration/placement.py` and `calibration/qdq.py` round in the graph:

    weights      of every convolution but a grouped transposed one: symmetric, a scale for each output channel
    activations  what such a convolution reads, and before it each branch of a concat that others read as well or no
                 convolution gives, each operand of a sum and what an average pooling reads, a scale each; what the
                 last convolution gives stays float

In the graph batch norm is folded into the weights. Here it is not, and need not be: it multiplies all weights of an
output channel by one factor, and so their scale, and the codes stay what they are. That holds for running statistics
alone, so batch norm uses those in training too. Biases, int32 in the graph, are not rounded.

The network itself is not touched. Its calls of convolutions, concats and sums are caught on their way to torch, which
treats modules and functions alike; to remove the fake quantisation is to take the network out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visiondeploy.errors import UsageError
from visiondeploy.models.dataflow import CONCATS, PRODUCTS, WATCHED, Call, calls_of

DECAY = 0.9
"""Weight of the past in the moving averages of the extremes, by batch."""


class Range(nn.Module):
    """The range of one activation: tracked for a number of batches, kept from then on, and rounded to.

    `low` and `high` are exponential moving averages of a batch's extremes, `seen` counts the batches. Until the first
    one nothing is rounded. Of several processes that train together the first one's ranges are taken in each step,
    as of all buffers.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, tracked: int, symmetric: bool) -> None:
        super().__init__()
        self.tracked, self.symmetric = tracked, symmetric
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape rounded to 256 affine codes (uint8), or to 255 symmetric ones (int8); float32."""
        seen = int(self.seen)
        if self.training and seen < self.tracked:
            self._track(values.detach().float(), 1 - DECAY if seen else 1.0)
        elif not seen:
            return values
        # Zero is represented exactly, as in the graph.
        low, high = self.low.clamp(max=0.0), self.high.clamp(min=0.0)
        scale = torch.maximum(-low, high) / 127 if self.symmetric else (high - low) / 255
        scale = scale.where(scale > 0, 1.0)
        lowest, highest = (-127, 127) if self.symmetric else (0, 255)
        zero_point = torch.zeros_like(scale) if self.symmetric else (-low / scale).round().clamp(lowest, highest)
        return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero_point.int(), lowest, highest)

    def _track(self, values: Tensor, share: float) -> None:
        # torch.aminmax would copy what has its channels last: 15 times slower.
        self.low.lerp_(values.amin(), share)
        self.high.lerp_(values.amax(), share)
        self.seen += 1


def round_weight(weight: Tensor, axis: int, bits: int) -> Tensor:
    """A weight rounded to symmetric codes of so many bits, with a scale for each slice along `axis`."""
    top = 2 ** (bits - 1) - 1
    scale = weight.detach().abs().amax([i for i in range(weight.ndim) if i != axis]) / top
    scale = scale.where(scale > 0, 1.0)
    return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale).int(), axis, -top, top)


class FakeQuantised(nn.Module):
    """A network whose convolutions compute with rounded values. `network` is what is trained, under its own keys.

    Training mode is for the ranges alone: the network stays in eval mode, as it is deployed.
    """

    def __init__(
        self, network: nn.Module, size: tuple[int, int], weight_bits: int, tracked: int, symmetric: bool = False
    ) -> None:
        """Wrap a network for images N×3×height×width, some `size`; ranges are tracked for so many batches."""
        super().__init__()
        self.network = network.eval()
        self.weight_bits = weight_bits
        self.calls = calls_of(network, size)
        self.ranges = nn.ModuleList(Range(tracked, symmetric) for call in self.calls for _ in call.rounded)

    def forward(self, image: Tensor) -> Tensor:
        """What the network gives. Raises `UsageError` where what it calls depends on the image."""
        with _Rounding(self) as rounding:
            found: Tensor = self.network(image)
        rounding.finish()
        return found

    def train(self, mode: bool = True) -> Self:
        """As of any module, but the network stays in eval mode."""
        super().train(mode)
        self.network.eval()
        return self


class _Rounding(TorchFunctionMode):
    """Rounds what the calls of one run read. They come in the order of the run that they were found in."""

    def __init__(self, module: FakeQuantised) -> None:
        super().__init__()
        self._bits = module.weight_bits
        self._calls: Iterator[Call] = iter(module.calls)
        self._ranges: Iterator[nn.Module] = iter(module.ranges)

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in WATCHED:
            call = next(self._calls, None)
            if call is None or call.function != func:
                raise _other_calls()
            args = self._rounded(call, args)
        return func(*args, **(kwargs or {}))

    def _rounded(self, call: Call, args: Sequence[Any]) -> list[Any]:
        operands = list(args[0] if call.function in CONCATS else args)
        for place in call.rounded:
            operands[place] = next(self._ranges)(operands[place])
        if call.function in PRODUCTS and call.rounded:
            operands[1] = round_weight(operands[1], PRODUCTS[call.function], self._bits)
        return [operands, *args[1:]] if call.function in CONCATS else operands

    def finish(self) -> None:
        """Raise `UsageError` where a call is missing."""
        if next(self._calls, None) is not None:
            raise _other_calls()


def _other_calls() -> UsageError:
    return UsageError(
        "the network calls other convolutions, concats or sums for one image than for another, so that it cannot be "
        "fine-tuned for int8: leave --qat away."
    )
