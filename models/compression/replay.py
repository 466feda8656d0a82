"""The recorded changes of a network, made again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visiondeploy.errors import UsageError
from visiondeploy.models.compression import separable
from visiondeploy.models.compression.changes import Change, Pruned, Separated
from visiondeploy.models.compression.dependencies import Dependencies


def replay(module: nn.Module, changes: Sequence[Change]) -> None:
    """Change a module as its checkpoint says, in order; the shapes are those of its weights then.

    Raises `UsageError` where a change does not fit the module.
    """
    for change in changes:
        if isinstance(change, Separated):
            separable.replace(module, change)
        else:
            prune(module, change)


def prune(module: nn.Module, change: Pruned) -> None:
    """Remove the channels of one change. Raises `UsageError`."""
    if not change.removed:
        return
    training = module.training
    dependencies = Dependencies(module)
    try:
        for root, channels in change.removed.items():
            dependencies.remove(root, channels)
    except (AttributeError, ValueError) as error:
        raise UsageError(f"channels cannot be removed as recorded: {error}.") from None
    module.train(training)
