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
from visiondeploy.calibration.equalise import equalise, tensors_to_equalise
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import OBSERVERS, Range, observer_of
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import Quantised, quantise
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.types import Array

Samples = Sequence[Mapping[str, Array]]
Judge = Callable[[onnx.ModelProto], float]
"""The SQNR in dB of a quantised graph's outputs on images that it was not made from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantised graph, the float graph and the ranges that it was made from, by which observer and repairs."""

    fp32: onnx.ModelProto
    result: Quantised
    ranges: Mapping[str, Range]
    observer: str
    repairs: tuple[str, ...] = ()

    def repaired(self, name: str, model: onnx.ModelProto) -> Candidate:
        """The same after one more repair of the quantised graph."""
        return replace(self, result=replace(self.result, model=model), repairs=(*self.repairs, name))


def search(
    fp32: onnx.ModelProto,
    samples: Samples,
    judge: Judge,
    scheme: Scheme,
    settings: CalibrationSettings,
    weight_bits: int,
    threads: int,
    report: Callable[[str], None],
) -> tuple[Candidate, dict[str, float]]:
    """Quantise `fp32` by a scheme as well as the settings allow; also what each candidate was judged, in order.

    `samples` are read once for each pass. `report` is told what is tried. Raises `UsageError` for an observer
    that does not exist, `InputError` where there is no sample or a tensor's values are not finite.
    """
    names = tuple(OBSERVERS) if settings.observer == "auto" else (settings.observer,)
    for name in names:
        observer_of(name)
    judged: dict[str, float] = {}

    def better(name: str, candidate: Candidate, best: Candidate | None) -> Candidate:
        """The better one of two; the earlier of equals."""
        highest = max(judged.values(), default=-math.inf)
        judged[name] = judge(candidate.result.model)
        return candidate if best is None or judged[name] > highest else best

    def quantised(model: onnx.ModelProto, statistics: Mapping[str, TensorStatistics], observer: str) -> Candidate:
        ranges = {name: observer_of(observer)(found, scheme.target) for name, found in statistics.items()}
        return Candidate(model, quantise(model, ranges, scheme, weight_bits), ranges, observer)

    model = rewrite(fp32) if scheme.rewritten else fp32
    watched = tensors_to_observe(model)
    more = tensors_to_equalise(model) if settings.equalise else ()
    statistics = observe(model, tuple(dict.fromkeys((*watched, *more))), samples, threads)

    best: Candidate | None = None
    for name in names:
        report(f"observer {name}")
        best = better(name, quantised(model, {tensor: statistics[tensor] for tensor in watched}, name), best)
    assert best is not None
    if settings.equalise and (equalised := equalise(model, statistics)).tensors:
        report("equalisation")
        again = observe(equalised.model, watched, samples, threads)
        found = replace(quantised(equalised.model, again, best.observer), repairs=("equalisation",))
        best = better("equalisation", found, best)
    if settings.adaround:
        report("adaround")
        repaired = adaround(best.fp32, best.result.model, samples, threads).model
        best = better("adaround", best.repaired("adaround", repaired), best)
    if settings.bias_correction:
        report("bias correction")
        repaired = correct_biases(best.fp32, best.result.model, samples, threads).model
        best = better("bias correction", best.repaired("bias correction", repaired), best)
    return best, judged
