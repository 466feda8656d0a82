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
from dataclasses import dataclass, field

import numpy as np
import onnx

from visiondeploy.calibration.adaround import adaround
from visiondeploy.calibration.bias import correct_biases
from visiondeploy.calibration.equalise import equalise, tensors_to_equalise
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import OBSERVERS, Range, observer_of
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.probe import Probe
from visiondeploy.calibration.qdq import Quantised, quantise
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.types import Array

Samples = Sequence[Mapping[str, Array]]
Repair = Callable[[onnx.ModelProto, onnx.ModelProto, Samples, int], onnx.ModelProto]
"""From the float graph, the quantised one, the samples and the threads to a better quantised one."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What came out. `sqnr_db` has every candidate that was tried, in order; `repairs` those that were kept."""

    result: Quantised
    ranges: Mapping[str, Range]
    observer: str
    repairs: tuple[str, ...]
    sqnr_db: Mapping[str, float]


@dataclass
class _Search:
    """The best graph so far, and what judges the next one."""

    fp32: onnx.ModelProto
    held_back: Samples
    threads: int
    sqnr_db: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expected = self._outputs(self.fp32)

    def better(self, name: str, model: onnx.ModelProto, than: float) -> bool:
        """Judge a candidate, and whether it is better than another of that many decibels."""
        self.sqnr_db[name] = self._judge(model)
        return self.sqnr_db[name] > than

    def _judge(self, model: onnx.ModelProto) -> float:
        signal = noise = 0.0
        for expected, found in zip(self._expected, self._outputs(model), strict=True):
            signal += float(np.square(expected, dtype=np.float64).sum())
            noise += float(np.square(expected.astype(np.float64) - found).sum())
        if not math.isfinite(noise) or signal == 0:
            return -math.inf
        # Equal outputs are as good as can be told, and JSON has no infinity.
        return 300.0 if noise == 0 else 10 * math.log10(signal / noise)

    def _outputs(self, model: onnx.ModelProto) -> list[Array]:
        probe = Probe(model, [value.name for value in model.graph.output], self.threads)
        return [output for feeds in self.held_back for output in probe(feeds).values()]


def search(
    fp32: onnx.ModelProto,
    samples: Samples,
    held_back: Samples,
    scheme: Scheme,
    settings: CalibrationSettings,
    weight_bits: int,
    threads: int,
    report: Callable[[str], None],
) -> Chosen:
    """Quantise `fp32` by a scheme as well as the settings allow. `samples` are read once for each pass.

    Raises `UsageError` for an observer that does not exist, `InputError` where there is no sample or a tensor's
    values are not finite.
    """
    names = list(OBSERVERS) if settings.observer == "auto" else [settings.observer]
    observers = {name: observer_of(name) for name in names}
    model = rewrite(fp32) if scheme.rewritten else fp32
    statistics = _observe(model, samples, threads, equalised=settings.equalise)
    judge = _Search(fp32, held_back, threads)

    best, observer, repairs = -math.inf, names[0], []
    result, ranges = _quantise(model, statistics, scheme, observer, weight_bits)
    for name in observers:
        report(f"observer {name}")
        candidate, its_ranges = _quantise(model, statistics, scheme, name, weight_bits)
        if judge.better(name, candidate.model, best):
            best, observer, result, ranges = judge.sqnr_db[name], name, candidate, its_ranges
    if settings.equalise:
        report("equalisation")
        equalised = equalise(model, statistics)
        if equalised.tensors:
            again = _observe(equalised.model, samples, threads, equalised=False)
            candidate, its_ranges = _quantise(equalised.model, again, scheme, observer, weight_bits)
            if judge.better("equalisation", candidate.model, best):
                best, model, result, ranges = judge.sqnr_db["equalisation"], equalised.model, candidate, its_ranges
                repairs.append("equalisation")
    for name, repair in _repairs(settings).items():
        report(name)
        repaired = repair(model, result.model, samples, threads)
        if judge.better(name, repaired, best):
            best = judge.sqnr_db[name]
            result = Quantised(repaired, result.int8, result.left_in_float)
            repairs.append(name)
    return Chosen(result, ranges, observer, tuple(repairs), judge.sqnr_db)


def _repairs(settings: CalibrationSettings) -> dict[str, Repair]:
    """What may be tried on the quantised graph, in this order: biases make up for what rounding leaves."""
    found: dict[str, Repair] = {}
    if settings.adaround:
        found["adaround"] = lambda *given: adaround(*given).model
    if settings.bias_correction:
        found["bias correction"] = lambda *given: correct_biases(*given).model
    return found


def _observe(model: onnx.ModelProto, samples: Samples, threads: int, *, equalised: bool) -> dict[str, TensorStatistics]:
    more = tensors_to_equalise(model) if equalised else ()
    return observe(model, tuple(dict.fromkeys((*tensors_to_observe(model), *more))), samples, threads)


def _quantise(
    model: onnx.ModelProto,
    statistics: Mapping[str, TensorStatistics],
    scheme: Scheme,
    observer: str,
    weight_bits: int,
) -> tuple[Quantised, dict[str, Range]]:
    rule = observer_of(observer)
    ranges = {name: rule(statistics[name], scheme.target) for name in tensors_to_observe(model)}
    return quantise(model, ranges, scheme, weight_bits), ranges
