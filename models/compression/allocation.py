"""Which layers become separable and how many channels each part of a network keeps, to hold a budget.

First layers are replaced, of those that are cheaper as separable ones on the target: what saves most for the share of
its kernel that is lost comes first. A replaced layer still sees all channels and learns back nearly all in fine-tuning
(benchmarks/results/compression.md), so that this goes before pruning.

Then channels are removed. Globally, the step is taken again and again that saves most for what is lost: the least
important units of one coupling; greedily, as NetAdapt (Yang et al. 2018, arXiv:1804.03230) chooses its layers and HALP
(Shen et al. 2022, arXiv:2110.10811) its channels, by what a step saves on the target and not by the count of weights.
Layer by layer, all couplings lose the same share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from visiondeploy.models.compression.dependencies import Coupling
from visiondeploy.models.compression.settings import Scope
from visiondeploy.models.compression.structure import Cost, Structure
from visiondeploy.types import Array

AHEAD = 4
"""Steps of one coupling that are looked at together: where the runtime gains nothing by one, it may by two."""

SMALLEST_SHARE = 0.1
"""Of a coupling at least this share of its channels is kept: with none left nothing passes."""

WORTH = 0.05
"""The share of a layer's cost that its replacement saves at least: less may be noise of a table of times."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """The units that each coupling loses, by its root, and what is left to pay."""

    removed: dict[str, int]
    cost: float


def replacements(structure: Structure, cost: Cost, budget: float) -> frozenset[str]:
    """The layers that become separable: as few as hold the budget, or all for which that is cheaper."""
    paid = structure.cost(cost, {})
    gains: dict[str, tuple[float, float]] = {}
    for name, lost in structure.replaceable.items():
        before = structure.layer_cost(cost, name, {})
        saved = before - structure.layer_cost(cost, name, {}, frozenset({name}))
        if saved > WORTH * before:
            gains[name] = _gain(saved, lost), saved
    chosen: set[str] = set()
    for name in sorted(gains, key=gains.__getitem__, reverse=True):
        if paid <= budget:
            break
        chosen.add(name)
        paid -= gains[name][1]
    return frozenset(chosen)


def allocate(
    structure: Structure, importance: Mapping[str, Array], cost: Cost, budget: float, multiple: int, scope: Scope
) -> Allocation | None:
    """The allocation that costs at most `budget`; None where nothing that may be removed brings it there.

    `importance` has a score for each unit of each coupling, comparable among them; larger is kept. Channels are kept
    in multiples of `multiple`, or all.
    """
    if scope == "layerwise":
        found = _layerwise(structure, cost, budget, multiple)
    else:
        found = _Greedy(structure, importance, cost, multiple).run(budget)
    if found is None:
        # Where no single step saves anything, all of them together may.
        removed = smallest(structure, multiple)
        paid = structure.cost(cost, removed)
        found = Allocation(removed, paid) if paid <= budget else None
    return found


def smallest(structure: Structure, multiple: int) -> dict[str, int]:
    """The units that couplings lose at most, by their roots."""
    return {c.root: len(c.units) - kept_counts(c, multiple)[-1] for c in structure.couplings}


def kept_counts(coupling: Coupling, multiple: int) -> tuple[int, ...]:
    """The numbers of units that a coupling may keep, descending, all of them first."""
    total, per_unit = len(coupling.units), len(coupling.units[0])
    # Where a unit has several channels, they count together.
    step = multiple // math.gcd(multiple, per_unit)
    least = max(1, min(step, total), math.ceil(total * SMALLEST_SHARE))
    return (total, *(kept for kept in range((total - 1) // step * step, 0, -step) if kept >= least))


def least_cost(structure: Structure, cost: Cost, multiple: int) -> float:
    """The least that the network costs where all couplings keep the same share."""
    return min(structure.cost(cost, removed) for removed in _uniform(structure, multiple))


def _layerwise(structure: Structure, cost: Cost, budget: float, multiple: int) -> Allocation | None:
    for removed in _uniform(structure, multiple):
        paid = structure.cost(cost, removed)
        if paid <= budget:
            return Allocation(removed, paid)
    return None


def _uniform(structure: Structure, multiple: int) -> Iterator[dict[str, int]]:
    """What couplings lose where all keep the same share: at each at which one takes its next step, the least first."""
    counts = {coupling.root: kept_counts(coupling, multiple) for coupling in structure.couplings}
    totals = {coupling.root: len(coupling.units) for coupling in structure.couplings}
    shares = {kept / totals[root] for root, options in counts.items() for kept in options}
    for share in sorted(shares | {1.0}, reverse=True):
        yield {
            root: totals[root] - min(kept for kept in options if kept >= share * totals[root])
            for root, options in counts.items()
        }


class _Greedy:
    """The state of the search: what is removed so far."""

    def __init__(self, structure: Structure, importance: Mapping[str, Array], cost: Cost, multiple: int) -> None:
        self.structure, self.price = structure, cost
        self.couplings = {coupling.root: coupling for coupling in structure.couplings}
        self.counts = {root: kept_counts(coupling, multiple) for root, coupling in self.couplings.items()}
        # What is lost with the k least important units.
        self.lost = {root: np.concatenate([[0.0], np.cumsum(np.sort(importance[root]))]) for root in self.couplings}
        self.removed = dict.fromkeys(self.couplings, 0)

    def run(self, budget: float) -> Allocation | None:
        """Take steps until the budget is held."""
        paid = self.structure.cost(self.price, self.removed)
        steps = {root: self._step(root) for root in self.couplings}
        while paid > budget:
            best = max((step for step in steps.values() if step is not None), default=None)
            if best is None:
                return None
            coupling = self.couplings[best.root]
            self.removed[best.root] = len(coupling.units) - best.kept
            paid -= best.saved
            touched = {*coupling.makes, *coupling.reads}
            for root, other in self.couplings.items():
                if touched & {*other.makes, *other.reads}:
                    steps[root] = self._step(root)
        return Allocation(dict(self.removed), self.structure.cost(self.price, self.removed))

    def _step(self, root: str) -> _Step | None:
        coupling, now = self.couplings[root], self.removed[root]
        total = len(coupling.units)
        touched = {*coupling.makes, *coupling.reads} & self.structure.layers.keys()
        before = self._cost_of(touched, self.removed)
        best: _Step | None = None
        for kept in [kept for kept in self.counts[root] if total - kept > now][:AHEAD]:
            then = {**self.removed, root: total - kept}
            norms = sum(coupling.norms.values()) * (total - kept - now) * self.price.norm_channel
            saved = before - self._cost_of(touched, then) + norms
            lost = float(self.lost[root][total - kept] - self.lost[root][now])
            step = _Step(_gain(saved, lost), saved, root, kept)
            if saved > 0 and (best is None or step > best):
                best = step
        return best

    def _cost_of(self, names: set[str], removed: Mapping[str, int]) -> float:
        return sum(self.structure.layer_cost(self.price, name, removed) for name in names)


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    """What a step saves for what it loses, then itself: the units of a coupling that are kept."""

    gain: float
    saved: float
    root: str
    kept: int


def _gain(saved: float, lost: float) -> float:
    return saved / lost if lost > 0 else np.inf
