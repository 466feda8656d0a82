"""Mixed precision: the fewest layers in float with which a network holds its limit.

Layers are ranked by what each does alone: the SQNR of the network's outputs when it is the only one in integers.
(Noise of layers adds up nearly independently, so that the ranking holds for sets.) Then the number of layers that
stay in float, worst first, is found by doubling and halving, and at last each of those is given back that is not
needed after all. Every set is measured once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from visiondeploy.calibration.observers import Range
from visiondeploy.calibration.qdq import Quantised, quantise
from visiondeploy.calibration.schemes import Scheme


@dataclass(frozen=True, slots=True)
class Subject:
    """A network in both precisions: `fp32` is what `int8` was made from, with its ranges, before repairs."""

    fp32: onnx.ModelProto
    int8: onnx.ModelProto
    ranges: Mapping[str, Range]
    scheme: Scheme
    weight_bits: int
    products: tuple[str, ...]

    def keeping(self, layers: frozenset[str]) -> Quantised:
        """The network with some of its products in float and the repaired codes of all others."""
        made = quantise(self.fp32, self.ranges, self.scheme, self.weight_bits, layers)
        floats = {name for node in made.model.graph.node if node.name in layers for name in node.input}
        repaired = {tensor.name: tensor for tensor in self.int8.graph.initializer}
        for tensor in made.model.graph.initializer:
            found = repaired.get(tensor.name)
            if found is not None and found.dims == tensor.dims and tensor.name not in floats:
                tensor.CopyFrom(found)
        return made


@dataclass(frozen=True, slots=True)
class Tried:
    """A set of layers in float, and whether the limit held with it."""

    layers: frozenset[str]
    holds: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """The layers to keep in float, worst first; what was tried; and the SQNR in dB of each layer alone in integers.

    `alone` is empty where the limit held with no layer in float, so that no ranking was needed.
    """

    layers: tuple[str, ...]
    tried: tuple[Tried, ...]
    alone: Mapping[str, float]


def fewest_in_float(
    subject: Subject,
    judge: Callable[[onnx.ModelProto], float],
    holds: Callable[[frozenset[str]], bool],
    report: Callable[[str], None],
) -> Kept:
    """The fewest layers in float with which `holds` is true of the set, as far as one ranking finds them.

    `judge` gives the SQNR in dB of a graph's outputs to the float network's. `holds` is called at most once for a set,
    first with the empty one; it is taken to be true with every layer in float.
    """
    tried: dict[frozenset[str], bool] = {}

    def tries(layers: Sequence[str]) -> bool:
        chosen = frozenset(layers)
        if chosen not in tried:
            report(f"{len(chosen)} of {len(subject.products)} layers in float")
            tried[chosen] = len(chosen) == len(subject.products) or holds(chosen)
        return tried[chosen]

    if tries(()):
        return Kept((), _record(tried), {})
    alone = _alone(subject, judge, report)
    ranked = sorted(alone, key=alone.__getitem__)
    needed = _smallest(len(ranked), lambda count: tries(ranked[:count]))
    kept = ranked[:needed]
    for layer in reversed(ranked[:needed]):
        without = [other for other in kept if other != layer]
        if without and tries(without):
            kept = without
    return Kept(tuple(kept), _record(tried), {name: alone[name] for name in ranked})


def _alone(
    subject: Subject, judge: Callable[[onnx.ModelProto], float], report: Callable[[str], None]
) -> dict[str, float]:
    """The SQNR of the outputs with each layer alone in integers."""
    found: dict[str, float] = {}
    for place, name in enumerate(subject.products, start=1):
        report(f"layer {place} of {len(subject.products)} alone in int8")
        found[name] = judge(subject.keeping(frozenset(subject.products) - {name}).model)
    return found


def _smallest(last: int, good: Callable[[int], bool]) -> int:
    """The smallest of 1 … `last` that is good, by doubling, then halving: `last` is good, and all above a good one."""
    bad, found = 0, 1
    while found < last and not good(found):
        bad, found = found, min(2 * found, last)
    while found - bad > 1:
        middle = (bad + found) // 2
        if good(middle):
            found = middle
        else:
            bad = middle
    return found


def _record(tried: Mapping[frozenset[str], bool]) -> tuple[Tried, ...]:
    return tuple(Tried(layers, held) for layers, held in tried.items())
