"""The observer and the repairs that a network is quantised with: those that raise the SQNR on held-back images.

One after the other, each kept only where the outputs come nearer to the float network's:

    observer           the best of the table, or the one that was asked for
    equalisation       scales channels against each other      `equalise.py`
    AdaRound           which way each weight is rounded        `adaround.py`
    bias correction    the mean error of each channel          `bias.py`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from visiondeploy.calibration.adaround import adaround
from visiondeploy.calibration.bias import correct_biases
from visiondeploy.calibration.equalise import equalise
from visiondeploy.calibration.observation import Observation
from visiondeploy.calibration.observers import OBSERVERS, Range, observer_of
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import Quantised, quantise
from visiondeploy.calibration.ranges import Ranges
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.types import Array

Samples = Sequence[Mapping[str, Array]]
Judge = Callable[[onnx.ModelProto], float]
"""The SQNR in dB of a quantised graph's outputs on images that it was not made from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantised graph, the float graph and the ranges that it was made from, by which observer and repairs.

    `seen` are the extremes of what was observed, `scales` those of the channels that the float graph was equalised by.
    """

    fp32: onnx.ModelProto
    result: Quantised
    ranges: Mapping[str, Range]
    seen: Mapping[str, tuple[float, float]]
    scales: Mapping[str, Array]
    observer: str
    repairs: tuple[str, ...] = ()

    def repaired(self, name: str, model: onnx.ModelProto) -> Candidate:
        """The same after one more repair of the quantised graph."""
        return replace(self, result=replace(self.result, model=model), repairs=(*self.repairs, name))


def candidate(
    fp32: onnx.ModelProto,
    ranges: Mapping[str, Range],
    seen: Mapping[str, tuple[float, float]],
    scales: Mapping[str, Array],
    observer: str,
    scheme: Scheme,
    weight_bits: int,
) -> Candidate:
    """`fp32` by a scheme, without repairs but the equalisation that `scales` are of. Raises as `equalise`."""
    model = equalise(fp32, scales)
    result = quantise(model, ranges, scheme, weight_bits)
    repairs = ("equalisation",) if scales else ()
    return Candidate(rewrite(model) if scheme.rewritten else model, result, ranges, seen, scales, observer, repairs)


def search(
    fp32: onnx.ModelProto,
    known: Sequence[Observation] | Ranges,
    samples: Samples,
    judge: Judge,
    scheme: Scheme,
    settings: CalibrationSettings,
    weight_bits: int,
    threads: int,
    report: Callable[[int, int, str], None],
) -> tuple[Candidate, dict[str, float]]:
    """Quantise `fp32` by a scheme as well as the settings allow; also what each candidate was judged, in order.

    `known` is what was observed of the graph, as it is and then, if at all, equalised; or the ranges to take.
    `samples` are read once for each repair that reads them. `report` is told which candidate of how many is tried.
    Raises `UsageError` for an observer that does not exist, `InputError` where there is no sample or a tensor's
    values are not finite.
    """
    names = tuple(OBSERVERS) if settings.observer == "auto" else (settings.observer,)
    total = 1 if isinstance(known, Ranges) else len(names) + len(known) - 1
    total += settings.adaround + settings.bias_correction
    judged: dict[str, float] = {}

    def better(name: str, tried: Candidate, best: Candidate | None) -> Candidate:
        """The better one of two; the earlier of equals."""
        report(len(judged) + 1, total, f"{name} tried")
        highest = max(judged.values(), default=-math.inf)
        judged[name] = judge(tried.result.model)
        return tried if best is None or judged[name] > highest else best

    def observed(observation: Observation, observer: str) -> Candidate:
        watched = tensors_to_observe(fp32)
        ranges = {name: observer_of(observer)(observation.statistics[name], scheme.target) for name in watched}
        seen = {name: observation.statistics[name].extremes() for name in watched}
        return candidate(fp32, ranges, seen, observation.scales, observer, scheme, weight_bits)

    best: Candidate | None = None
    if isinstance(known, Ranges):
        given = candidate(fp32, known.by_tensor, known.seen, known.scales, known.observer, scheme, weight_bits)
        best = better("ranges as given", given, best)
    else:
        for name in names:
            best = better(name, observed(known[0], name), best)
        for equalised in known[1:]:
            assert best is not None
            best = better("equalisation", observed(equalised, best.observer), best)
    assert best is not None
    if settings.adaround:
        repaired = adaround(best.fp32, best.result.model, samples, threads).model
        best = better("adaround", best.repaired("adaround", repaired), best)
    if settings.bias_correction:
        repaired = correct_biases(best.fp32, best.result.model, samples, threads).model
        best = better("bias correction", best.repaired("bias correction", repaired), best)
    return best, judged
