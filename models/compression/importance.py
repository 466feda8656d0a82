"""How much each channel matters, by a criterion of `criteria.py` as Torch-Pruning computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.compression.criteria import criterion_of
from visiondeploy.models.compression.dependencies import Coupling, Dependencies
from visiondeploy.types import Array

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""The loss of a batch, a scalar, from the module, images N×3×H×W and masks N×H×W."""


def importance(module: nn.Module, name: str, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss) -> dict[str, Array]:
    """A score for each unit of each coupling of a module, by its root; larger matters more. Scores are not negative.

    `batches` are read only by a criterion with gradients, which are those of their mean loss in eval mode. Raises
    `UsageError` for an unknown criterion or where it has nothing to look at, `InputError` where a score is no number.
    """
    import torch_pruning as tp

    criterion = criterion_of(name)
    dependencies = Dependencies(module)
    scorer: Any = getattr(tp.importance, criterion.kind)(**criterion.options)
    if criterion.gradients:
        _accumulate(module, batches, loss, squared=criterion.squared)
    found: dict[str, Array] = {}
    for coupling, group in dependencies.groups():
        scores: Tensor | None = scorer(group)
        if scores is None or len(scores) == 0:
            if name != "bn-scale":
                raise UsageError(f"importance '{name}' finds no weights for the channels of '{coupling.root}'.")
            # Without a batch norm of its own all of it is as important as the mean of any.
            scores = torch.ones(sum(map(len, coupling.units)))
        if not torch.isfinite(scores).all():
            raise InputError(f"the importance of channels of '{coupling.root}' is not finite: look at the weights.")
        found[coupling.root] = _by_unit(coupling, scores.detach().float().cpu().numpy())
    for parameter in module.parameters():
        parameter.grad = None
    return found


def _accumulate(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss, *, squared: bool) -> None:
    """Leave the mean gradient of all batches in the parameters; with `squared` the mean of its squares by image.

    Not by the scorer's own `accumulate_grad`, which in Torch-Pruning 1.6 keeps the last image alone.
    """
    sums: dict[nn.Parameter, Tensor] = {}
    count = 0
    for images, masks in batches:
        parts = [(images[i : i + 1], masks[i : i + 1]) for i in range(len(images))] if squared else [(images, masks)]
        for part in parts:
            module.zero_grad()
            loss(module, *part).backward()  # type: ignore[no-untyped-call]
            count += 1
            for parameter in module.parameters():
                if parameter.grad is not None:
                    found = parameter.grad**2 if squared else parameter.grad
                    sums[parameter] = sums[parameter] + found if parameter in sums else found.clone()
    if not count:
        raise UsageError("an importance with gradients needs images to take them on: compress.images is 0.")
    for parameter, total in sums.items():
        parameter.grad = total / count


def _by_unit(coupling: Coupling, scores: Array) -> Array:
    """The sum over the channels of each unit."""
    return np.array([scores[list(unit)].sum() for unit in coupling.units])
