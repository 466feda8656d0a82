"""Weights of a small feature network from those of the VGG that it stands in for, without training.

Layer by layer, as Zhang et al. 2015 (arXiv:1505.06798) do it: with z what the student's depthwise convolutions give and
y what the teacher's layer gives before its ReLU, the two 1×1 convolutions are the matrix of rank r that is nearest,

    min ‖y − E P z − b‖²    over E (wide×r), P (r×taps·C), b

of which the solution is the least-squares fit B of y to z, cut to the r main directions U of what it gives: P = UᵀB,
E = U. The student's own features go in, so that a layer makes up for errors of those before. Where ReLU gives 0 for
both, y becomes what was found, for nothing is wrong there, and the fit is repeated. The depthwise filters of a channel
are the main directions of the teacher's 3×3 filters that read it (Guo et al. 2018, arXiv:1808.05517).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visiondeploy.models.mobile_features import FIRST, Bottleneck, MobileFeatures, pooled
from visiondeploy.models.vgg import VGG

ROUNDS = 4
"""How often a layer is fitted."""

POSITIONS = 40_000
"""At how many positions of all pictures, at most."""

RIDGE = 1e-4
"""Of the mean variance of z, added to each variance: directions in which z hardly varies are left out."""

Report = Callable[[int, int, str], None]


@torch.no_grad()
def fit(teacher: VGG, pictures: Sequence[Tensor], seed: int, report: Report) -> MobileFeatures:
    """The student of a teacher with the same layers, fitted on pictures N×3×H×W in 0…1, batches of any size."""
    student = MobileFeatures().eval().requires_grad_(False)
    _take_first(student, teacher)
    theirs = [student.begun(images) for images in pictures]
    ours = list(theirs)
    random = torch.Generator().manual_seed(seed)
    for number, (layer, block) in enumerate(_blocks(student), start=1):
        convolution = _convolution(teacher, layer)
        theirs = [convolution(pooled(layer, x.relu())) for x in theirs]
        ours = [pooled(layer, x.relu()) for x in ours]
        _set_taps(block, convolution.weight)
        chosen = [_chosen(y, POSITIONS // len(pictures), random) for y in theirs]
        z = torch.cat([_columns(block, x)[:, places] for x, places in zip(ours, chosen, strict=True)], dim=1)
        y = torch.cat([_flat(each)[:, places] for each, places in zip(theirs, chosen, strict=True)], dim=1)
        error = _fit_block(block, z, y)
        report(number, len(student.blocks), f"{layer} error {error:.3f}")
        ours = [block(x) for x in ours]
    return student


def _take_first(student: MobileFeatures, teacher: VGG) -> None:
    """The teacher's first layer, for images that are normalised as the student's are: equal but for the border."""
    convolution = _convolution(teacher, FIRST)
    scaled = convolution.weight * (student.std / teacher.std).view(3, 1, 1)
    moved = convolution.weight * ((student.mean - teacher.mean) / teacher.std).view(3, 1, 1)
    student.first.weight.copy_(scaled)
    _bias(student.first).copy_(_bias(convolution) + moved.sum(dim=(1, 2, 3)))


def _set_taps(block: Bottleneck, weight: Tensor) -> None:
    """The depthwise filters from the teacher's weights wide×C×3×3: of each channel, the main 3×3 patterns."""
    patterns = weight.permute(1, 0, 2, 3).flatten(2)
    _, _, directions = torch.linalg.svd(patterns, full_matrices=False)
    for number, part in enumerate(block.narrow):
        if isinstance(part, nn.Sequential):
            _weight(part[0]).copy_(directions[:, number].view(-1, 1, 3, 3))


def _fit_block(block: Bottleneck, z: Tensor, y: Tensor) -> float:
    """Set the two convolutions from z (inputs×M) and y (wide×M); the relative error behind the ReLU."""
    rank = block.wide.in_channels
    middle = z.mean(dim=1, keepdim=True)
    centred = z - middle
    covariance = centred @ centred.T / z.shape[1]
    ridge = RIDGE * covariance.diagonal().mean()
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)))
    wanted = y
    for _ in range(ROUNDS):
        mean = wanted.mean(dim=1, keepdim=True)
        fitted = torch.cholesky_solve(centred @ (wanted - mean).T / z.shape[1], factor).T
        _, directions = torch.linalg.eigh(fitted @ covariance @ fitted.T)
        main = directions[:, -rank:]
        project = main.T @ fitted
        bias = mean - main @ (project @ middle)
        found = main @ (project @ z) + bias
        wanted = torch.where((y <= 0) & (found <= 0), found, y)
    last = [part[1] if isinstance(part, nn.Sequential) else part for part in block.narrow]
    for convolution, part in zip(last, project.chunk(len(last), dim=1), strict=True):
        _weight(convolution).copy_(part.view_as(_weight(convolution)))
    block.wide.weight.copy_(main[..., None, None])
    _bias(block.wide).copy_(bias[:, 0])
    return float((found.relu() - y.relu()).square().sum() / y.relu().square().sum().clamp(min=1e-12))


def _columns(block: Bottleneck, x: Tensor) -> Tensor:
    """What the convolutions to few channels read at each position, inputs×(N·H·W)."""
    taps = [part[0] for part in block.narrow if isinstance(part, nn.Sequential)]
    return torch.cat([_flat(tap(x)) for tap in taps]) if taps else F.unfold(x, 3, padding=1).transpose(0, 1).flatten(1)


def _flat(x: Tensor) -> Tensor:
    """N×C×H×W as C×(N·H·W)."""
    return x.transpose(0, 1).flatten(1)


def _chosen(x: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Random positions of N×C×H×W, in order, all of them where there are not more than `count`."""
    total = x.shape[0] * x.shape[2] * x.shape[3]
    if total <= count:
        return torch.arange(total)
    return torch.randperm(total, generator=random)[:count].sort().values


def _blocks(student: MobileFeatures) -> list[tuple[str, Bottleneck]]:
    return [(layer, block) for layer, block in student.blocks.items() if isinstance(block, Bottleneck)]


def _convolution(teacher: VGG, layer: str) -> nn.Conv2d:
    found: Any = teacher.convolutions[layer]
    convolution: nn.Conv2d = found
    return convolution


def _weight(convolution: nn.Module) -> Tensor:
    found: Any = convolution.weight
    weight: Tensor = found
    return weight


def _bias(convolution: nn.Conv2d) -> Tensor:
    """Of a convolution that has one."""
    found: Any = convolution.bias
    bias: Tensor = found
    return bias
