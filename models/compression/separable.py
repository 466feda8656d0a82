"""Depthwise-separable replacement of convolutions, initialised from the dense kernel.

A k×k convolution with weights W (out × in × k × k) becomes a depthwise one with d (in × k × k) and a pointwise one with
p (out × in), which together compute W'[o, i] = p[o, i] · d[i]: for each input channel i a matrix of rank one, out × k².
The nearest to W in the Frobenius norm is that of its largest singular value (Eckart and Young 1936), channel by
channel: network decoupling (Guo et al. 2018, arXiv:1808.05517), of which this is the first term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visiondeploy.errors import UsageError
from visiondeploy.models.compression.changes import Between, Separated
from visiondeploy.models.compression.settings import Initial
from visiondeploy.models.compression.shapes import pair

FEWEST_INPUTS = 5
"""What reads the image itself stays dense: a filter to each of three colours is too little for all that follows."""


class SeparableConv2d(nn.Sequential):
    """`depthwise`, what stands between, `pointwise`: N×in×H×W to N×out×H'×W', as the convolution that it replaces.

    The bias is the pointwise one's. What stands between begins as the identity, but for a ReLU.
    """

    def __init__(self, dense: nn.Conv2d, between: Between) -> None:
        super().__init__()
        channels, padding = dense.in_channels, dense.padding
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            pair(dense.kernel_size),
            pair(dense.stride),
            padding if isinstance(padding, str) else pair(padding),
            pair(dense.dilation),
            groups=channels,
            bias=False,
            padding_mode=dense.padding_mode,
        )
        if between != "none":
            self.norm = nn.BatchNorm2d(channels)
        if between == "norm-relu":
            self.relu = nn.ReLU(inplace=True)
        self.pointwise = nn.Conv2d(channels, dense.out_channels, 1, bias=dense.bias is not None)


def replaceable(module: nn.Module) -> tuple[str, ...]:
    """The names of the convolutions that can be replaced with fewer weights in the end, in the order of the modules."""
    return tuple(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d) and _saves(layer))


def _saves(layer: nn.Conv2d) -> bool:
    area = math.prod(layer.kernel_size)
    inputs, outputs = layer.in_channels, layer.out_channels
    return (
        area > 1
        and layer.groups == 1
        and inputs >= FEWEST_INPUTS
        and area * inputs + inputs * outputs < area * inputs * outputs
    )


def replace(module: nn.Module, change: Separated) -> None:
    """Put separable convolutions in the place of dense ones, in the module itself. Their weights are random.

    Raises `UsageError` for a name that is no convolution that can be replaced.
    """
    known = set(replaceable(module))
    for name in change.layers:
        if name not in known:
            raise UsageError(f"the layer '{name}' is no dense convolution that a separable one could replace.")
        # Named again it is none any more.
        known.discard(name)
        parent, _, own = name.rpartition(".")
        dense = module.get_submodule(name)
        assert isinstance(dense, nn.Conv2d)
        setattr(module.get_submodule(parent), own, SeparableConv2d(dense, change.between).train(dense.training))


def separate(module: nn.Module, layers: Sequence[str], between: Between, initial: Initial) -> Separated:
    """Replace layers and give them weights from the kernels that they replace; "random" leaves PyTorch's.

    Returns the change as a checkpoint records it. Raises as `replace`.
    """
    dense = {name: module.get_submodule(name) for name in layers}
    change = Separated(layers=tuple(layers), between=between)
    replace(module, change)
    for name, layer in dense.items():
        made = module.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(made, SeparableConv2d)
        if initial == "random":
            continue
        depthwise, pointwise = decouple(layer.weight.detach())
        with torch.no_grad():
            made.depthwise.weight.copy_(depthwise)
            made.pointwise.weight.copy_(pointwise)
            if layer.bias is not None:
                assert made.pointwise.bias is not None
                made.pointwise.bias.copy_(layer.bias)
    return change


def decouple(weight: Tensor) -> tuple[Tensor, Tensor]:
    """out × in × k × k to depthwise weights in × 1 × k × k and pointwise ones out × in × 1 × 1, float32.

    Both have the same norm in each channel. A singular vector's sign is free: the kernel sums to what is not negative.
    """
    outputs, inputs, *kernel = weight.shape
    left, value, right = torch.linalg.svd(weight.float().permute(1, 0, 2, 3).flatten(2), full_matrices=False)
    root = value[:, 0].sqrt()
    sign = torch.where(right[:, 0].sum(dim=1) < 0, -1.0, 1.0)
    depthwise = (right[:, 0] * (sign * root)[:, None]).reshape(inputs, 1, *kernel)
    pointwise = (left[:, :, 0] * (sign * root)[:, None]).T.reshape(outputs, inputs, 1, 1)
    return depthwise, pointwise


def residual(weight: Tensor) -> float:
    """The share of the kernel's energy that the separable one does not have: ‖W − W'‖² / ‖W‖², in 0…1."""
    values: Tensor = torch.linalg.svdvals(weight.detach().float().permute(1, 0, 2, 3).flatten(2)) ** 2
    energy = float(values.sum())
    return 1 - float(values[:, 0].sum()) / energy if energy > 0 else 0.0
