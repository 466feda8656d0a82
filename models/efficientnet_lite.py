"""EfficientNet-Lite0 up to its last block, as a feature network.

EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze and excitation and with ReLU6 for Swish, as Google
published it for quantisation. The tensors have the names of the published PyTorch weights, which were TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of each stage: blocks, kernel, stride of the first block, expansion, channels."""

STEM = 32
EPSILON = 1e-3
"""Of the batch norms; TensorFlow's."""


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): 1×1 that widens, depthwise, 1×1 that narrows, without activation."""

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.stride, self.residual = stride, stride == 1 and channels == out
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to N×out×⌈H/stride⌉×⌈W/stride⌉."""
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = F.relu6(self._bn1(_same(self._depthwise_conv, inner)))
        out: Tensor = self._bn2(self._project_conv(inner))
        return x + out if self.residual else out


class EfficientNetLite(nn.Module):
    """The layers "stem", behind its ReLU6, and "stage1" to "stage7", each the sum of its residuals, not activated.

    Strides are 2, 2, 4, 8, 16, 16, 32 and 32; content is compared at stride 8, as in VGG's relu4_2. Images are
    normalised here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: tuple[str, ...] = ("stem", *(f"stage{number}" for number in range(1, len(STAGES) + 1)))
        self.content: tuple[str, ...] = ("stage3",)
        self.style: tuple[str, ...] = ("stem", "stage2", "stage3", "stage5")
        self._conv_stem = nn.Conv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        self._blocks = nn.ModuleList()
        self._ends: dict[int, str] = {}
        channels = STEM
        for layer, (count, kernel, stride, expansion, out) in zip(self.layers[1:], STAGES, strict=True):
            for number in range(count):
                self._blocks.append(Block(channels, kernel, 1 if number else stride, expansion, out))
                channels = out
            self._ends[len(self._blocks) - 1] = layer

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features N×C×H×W by layer. Raises `KeyError` for a layer that it does not have."""
        wanted, found = {*layers}, dict[str, Tensor]()
        # The published preprocessing: (x − 127) / 128 of 0…255.
        x = (images * 255 - 127) / 128
        x = F.relu6(self._bn0(_same(self._conv_stem, x)))
        if "stem" in wanted:
            found["stem"] = x
        for index, block in enumerate(self._blocks):
            if len(found) == len(wanted):
                break
            x = block(x)
            if self._ends.get(index) in wanted:
                found[self._ends[index]] = x
        return {layer: found[layer] for layer in layers}


def _same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with TensorFlow's padding "SAME": ⌈size/stride⌉ outputs, the odd pixel of padding at the end."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    padding: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        padding += [total // 2, total - total // 2]
    out: Tensor = convolution(F.pad(x, padding))
    return out


def lite0() -> EfficientNetLite:
    """EfficientNet-Lite0 for the published weights."""
    return EfficientNetLite()
