"""A table of measured times of layers as a cost: what a layer takes with channels between those that were measured.

The time of a convolution is no smooth function of its channels, and none of its work: at the edges of vectors and
caches it jumps, and a depthwise one is bound by memory. So it is measured at several numbers of input and output
channels on the backend itself, and is linear between (NetAdapt, Yang et al. 2018, arXiv:1804.03230).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from visiondeploy.models.compression.allocation import kept_counts
from visiondeploy.models.compression.shapes import LayerShape
from visiondeploy.models.compression.structure import Structure, halves

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of the channels that can be kept, at which a layer is measured; 0 is the smallest number."""

Timed = tuple[str, LayerShape]
"""A layer by its name, with channels that it may have."""


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of layers at several numbers of channels each, as a cost. Layers have their own numbers."""

    times: tuple[tuple[str, LayerShape, float], ...]
    norm_channel: float = 0.0
    """Nothing: batch norm is folded into the convolution before it."""

    def layer(self, name: str, shape: LayerShape) -> float:
        """Milliseconds of a layer. Raises `KeyError` for one that was not measured."""
        rows = self._grids[name]
        if shape.depthwise:
            return _between({inputs: row[inputs] for inputs, row in rows.items()}, shape.in_channels)
        return _between({inputs: _between(row, shape.out_channels) for inputs, row in rows.items()}, shape.in_channels)

    @cached_property
    def _grids(self) -> dict[str, dict[int, dict[int, float]]]:
        """For each layer the times by input and then by output channels."""
        grids: dict[str, dict[int, dict[int, float]]] = {}
        for name, shape, time in self.times:
            grids.setdefault(name, {}).setdefault(shape.in_channels, {})[shape.out_channels] = time
        return grids


def shapes_to_time(structure: Structure, multiple: int, *, separable: bool) -> tuple[Timed, ...]:
    """What a table needs for a structure: each layer at several numbers of channels.

    Where layers may become separable, their halves too.
    """
    counts = {coupling.root: kept_counts(coupling, multiple) for coupling in structure.couplings}
    found: dict[Timed, None] = {}
    for name, shape in structure.layers.items():
        inputs = _channels(structure, name, "reads", shape.in_channels, counts)
        outputs = _channels(structure, name, "makes", shape.out_channels, counts)
        pairs = [(kept, kept) for kept in outputs] if shape.depthwise else [(i, o) for i in inputs for o in outputs]
        for pair in pairs:
            sized = shape.with_channels(*pair)
            found[name, sized] = None
            if separable and name in structure.replaceable:
                found |= dict.fromkeys(halves(name, sized).items())
    return tuple(found)


def _channels(
    structure: Structure, name: str, side: str, total: int, counts: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """The numbers of channels to measure on one side of a layer; all couplings there keep the same share."""
    found = set()
    for share in SHARES:
        gone = 0
        for coupling in structure.couplings:
            per_unit = getattr(coupling, side).get(name, 0)
            if per_unit:
                options = counts[coupling.root]
                wanted = options[-1] + share * (options[0] - options[-1])
                gone += per_unit * (options[0] - _nearest(options, wanted))
        found.add(total - gone)
    return tuple(sorted(found))


def _nearest(options: tuple[int, ...], wanted: float) -> int:
    return min(options, key=lambda kept: abs(kept - wanted))


def _between(points: Mapping[int, float], at: int) -> float:
    """Linear between the points; beyond the ends their own value."""
    places = sorted(points)
    index = bisect_right(places, at)
    if index == 0 or index == len(places):
        return points[places[0 if index == 0 else -1]]
    low, high = places[index - 1], places[index]
    share = (at - low) / (high - low)
    return points[low] * (1 - share) + points[high] * share
