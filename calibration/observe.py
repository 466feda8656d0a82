"""Statistics of the tensors of an fp32 ONNX graph, from real samples, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from visiondeploy.calibration.probe import Probe
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.errors import InputError
from visiondeploy.types import Array


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], samples: Iterable[Mapping[str, Array]], threads: int
) -> dict[str, TensorStatistics]:
    """Run `model` once on each of `samples` and return the statistics of each named tensor.

    Memory is that of the named tensors of one sample, whatever the number of samples. Raises `InputError` where
    there is no sample, or a tensor's values are not finite (the message names it).
    """
    probe = Probe(model, tensors, threads)
    statistics = {name: TensorStatistics() for name in tensors}
    seen = 0
    for feeds in samples:
        found = probe(feeds)
        # Each is dropped when it was read, and none is left when the next sample's are made.
        for name in tensors:
            statistics[name].update(found.pop(name))
        seen += 1
    if not seen:
        raise InputError("the calibration set is empty: int8 needs at least one image; see data.calibration.")
    for name, known in statistics.items():
        try:
            known.extremes()
        except InputError as error:
            raise InputError(f"tensor {name}: {error}") from None
    return statistics
