"""The criteria by which channels are ranked, as a table: what Torch-Pruning calls them. Imports no torch.

    magnitude   L2 norm of the weights that make and read it (Li et al. 2017, arXiv:1608.08710)
    bn-scale    the scale of its batch norm (Liu et al. 2017, arXiv:1708.06519)
    taylor      |gradient · weight|: what the loss changes by without it, to first order (Molchanov et al. 2019,
                arXiv:1906.10771)
    hessian     gradient² · weight²: to second order, with the Fisher information for the Hessian (LeCun et al. 1990,
                Optimal Brain Damage)

Each is a mean over the layers of a coupling. The last two are in units of the loss, so that couplings compare; the
first two are relative to the mean of their coupling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visiondeploy.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion: its class in `torch_pruning.importance`, what it is made with, and which gradients it needs."""

    kind: str
    options: dict[str, Any]
    gradients: bool = False
    squared: bool = False


IMPORTANCES: dict[str, Criterion] = {
    "magnitude": Criterion("GroupMagnitudeImportance", {"p": 2}),
    "bn-scale": Criterion("BNScaleImportance", {}),
    "taylor": Criterion("GroupTaylorImportance", {"normalizer": None}, gradients=True),
    "hessian": Criterion("GroupHessianImportance", {"normalizer": None}, gradients=True, squared=True),
}


def criterion_of(name: str) -> Criterion:
    """The criterion of that name. Raises `UsageError` for one that is not in the table."""
    if name not in IMPORTANCES:
        raise unknown_name("importance", name, IMPORTANCES)
    return IMPORTANCES[name]
