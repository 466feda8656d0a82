"""Where a quantised graph departs from the float graph: the SQNR of every layer's result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import onnx

from visiondeploy.calibration.codes import convolutions_of
from visiondeploy.calibration.probe import Probe
from visiondeploy.calibration.watching import side_by_side
from visiondeploy.types import Array


def layer_sqnr(
    fp32: onnx.ModelProto, quantised: onnx.ModelProto, samples: Sequence[Mapping[str, Array]], threads: int
) -> dict[str, float]:
    """The SQNR in dB of each convolution's result in a Q/DQ graph made from `fp32`, by name, in graph order.

    A layer is fed what those before it give, so that their errors are in it. Where both graphs give the same
    the SQNR is infinite. `samples` are run once for every few layers.
    """
    layers = list(convolutions_of(fp32, quantised))
    reference, candidate = (partial(Probe, model, threads=threads) for model in (fp32, quantised))
    pairs = [(ours.output[0], theirs.output[0]) for ours, theirs in layers]
    power, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    for place, expected, given in side_by_side(reference, candidate, pairs, samples):
        power[place] += np.square(expected, dtype=np.float64).sum()
        noise[place] += np.square(expected - given, dtype=np.float64).sum()
    return {
        node.name: math.inf if error == 0 else 10 * math.log10(max(signal, 1e-300) / error)
        for (_, node), signal, error in zip(layers, power, noise, strict=True)
    }
