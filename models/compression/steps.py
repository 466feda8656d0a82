"""One step of compression on a module: choose, change, and set the statistics of batch norm anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from visiondeploy.errors import GateFailed, UsageError
from visiondeploy.models.compression.allocation import allocate, least_cost, replacements
from visiondeploy.models.compression.changes import Pruned, Separated
from visiondeploy.models.compression.importance import Loss, importance
from visiondeploy.models.compression.replay import prune
from visiondeploy.models.compression.separable import separate
from visiondeploy.models.compression.settings import CompressSettings
from visiondeploy.models.compression.structure import Cost, Structure, structure_of

Batches = Sequence[tuple[Tensor, Tensor]]
"""Images N×3×H×W, normalised, and masks N×H×W."""


def open_structure(module: nn.Module, size: tuple[int, int], settings: CompressSettings) -> Structure:
    """The structure of a module, without what the settings keep as it is.

    Raises `UsageError` for a name in `keep` that no layer has.
    """
    found = structure_of(module, size)
    for pattern in settings.keep:
        if not any(settings.model_copy(update={"keep": (pattern,)}).keeps(name) for name in found.layers):
            raise UsageError(
                f"compress.keep has {pattern!r}, which is no layer of the network: they are {', '.join(found.layers)}."
            )
    return replace(
        found,
        couplings=tuple(c for c in found.couplings if not any(map(settings.keeps, (*c.makes, *c.reads)))),
        replaceable={name: lost for name, lost in found.replaceable.items() if not settings.keeps(name)},
        norm_between=settings.between != "none",
    )


def replace_layers(
    module: nn.Module, size: tuple[int, int], settings: CompressSettings, cost: Cost | None, limit: float, multiple: int
) -> Separated | None:
    """Make layers separable: all that can be, or with a cost those that bring the module nearer to the limit.

    None where none is to be replaced. Raises `GateFailed` where pruning after it could not hold the limit either.
    """
    structure = open_structure(module, size, settings)
    chosen = tuple(structure.replaceable)
    if cost is not None:
        found = replacements(structure, cost, limit)
        chosen = tuple(name for name in chosen if name in found)
    change = separate(module, chosen, settings.between, settings.initial) if chosen else None
    if cost is not None:
        # As pruning will, which comes after the fine-tuning: so long nobody should wait for a refusal.
        made = open_structure(module, size, settings)
        alike = {coupling.root: np.ones(len(coupling.units)) for coupling in made.couplings}
        if allocate(made, alike, cost, limit, multiple, settings.scope) is None:
            raise _out_of_reach(structure.cost(cost, {}), limit, least_cost(made, cost, multiple), multiple)
    return change


def remove_channels(
    module: nn.Module,
    size: tuple[int, int],
    settings: CompressSettings,
    cost: Cost,
    limit: float,
    multiple: int,
    batches: Batches,
    loss: Loss,
) -> Pruned | None:
    """Remove the channels that matter least until the module costs no more than the limit; None where it does not.

    Raises `GateFailed` where the limit cannot be held.
    """
    structure = open_structure(module, size, settings)
    scores = importance(module, settings.importance, batches, loss)
    found = allocate(structure, scores, cost, limit, multiple, settings.scope)
    if found is None:
        raise _out_of_reach(structure.cost(cost, {}), limit, least_cost(structure, cost, multiple), multiple)
    removed: dict[str, tuple[int, ...]] = {}
    for coupling in structure.couplings:
        units = np.argsort(scores[coupling.root], kind="stable")[: found.removed[coupling.root]]
        if len(units):
            removed[coupling.root] = tuple(sorted(channel for unit in units for channel in coupling.units[unit]))
    if not removed:
        return None
    change = Pruned(removed=removed)
    prune(module, change)
    return change


def _out_of_reach(whole: float, limit: float, least: float, multiple: int) -> GateFailed:
    return GateFailed(
        f"the budget cannot be held: at this step {limit / whole:.3g} of what the network costs may be left, and the "
        f"least that can be made of it costs {least / whole:.3g}. Allow more, lower compress.multiple ({multiple}), or "
        "keep fewer layers (compress.keep)."
    )


def set_statistics(module: nn.Module, batches: Batches) -> None:
    """Take mean and variance of each batch norm anew, over all batches alike; the module is in eval mode after."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats]
    if not norms or not batches:
        return
    momenta = [layer.momentum for layer in norms]
    module.eval()
    for layer in norms:
        layer.reset_running_stats()
        # None is the mean over all batches.
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for images, _ in batches:
            module(images)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    module.eval()
