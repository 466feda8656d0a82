"""Where a quantised graph departs from the float graph: the SQNR of every layer's result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from visiondeploy.calibration.codes import convolutions_of
from visiondeploy.calibration.probe import Probe
from visiondeploy.types import Array

AT_ONCE = 6
"""Layers whose results are held at the same time, of both graphs."""


def layer_sqnr(
    fp32: onnx.ModelProto, quantised: onnx.ModelProto, samples: Sequence[Mapping[str, Array]], threads: int
) -> dict[str, float]:
    """The SQNR in dB of each convolution's result in a Q/DQ graph made from `fp32`, by name, in graph order.

    A layer is fed what those before it give, so that their errors are in it. Where both graphs give the same
    the SQNR is infinite. `samples` are run once for every few layers.
    """
    pairs = list(convolutions_of(fp32, quantised))
    found: dict[str, float] = {}
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        reference = Probe(fp32, [node.output[0] for node, _ in some], threads)
        candidate = Probe(quantised, [node.output[0] for _, node in some], threads)
        power, noise = np.zeros(len(some)), np.zeros(len(some))
        for feeds in samples:
            expected, given = reference(feeds), candidate(feeds)
            for place, (ours, theirs) in enumerate(some):
                value = expected.pop(ours.output[0])
                power[place] += np.square(value, dtype=np.float64).sum()
                noise[place] += np.square(value - given.pop(theirs.output[0]), dtype=np.float64).sum()
        for (_, node), signal, error in zip(some, power, noise, strict=True):
            found[node.name] = math.inf if error == 0 else 10 * math.log10(max(signal, 1e-300) / error)
    return found
