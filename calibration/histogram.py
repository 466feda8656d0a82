"""A histogram of a stream of values whose range nobody knows beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np

from visiondeploy.types import Array

BINS = 2048
"""Bins on each side of zero, as many as TensorRT's calibrator has for magnitudes (Migacz, GTC 2017)."""

# In steps of this many values the temporaries fit a core's cache, whatever the size of a tensor.
_AT_ONCE = 1 << 16
_SMALLEST_EXPONENT = -126  # below it, float32 does not hold 1 / width


class Histogram:
    """Counts in `BINS` bins of equal width on each side of zero, and the exact zeros by themselves.

    Bin i holds i·width ≤ x < (i + 1)·width, for i = −BINS … BINS − 1. The width is the smallest power of two
    with which the bins hold every magnitude seen. Where a larger value comes, neighbouring pairs become one
    bin: ⌊⌊x / w⌋ / 2⌋ = ⌊x / 2w⌋, so no count moves to another value, zero stays an edge, and the histogram
    does not depend on how the values were batched or ordered. (A power of two also makes x / w exact in
    float32, except where it underflows: then x counts as next to zero, without its sign.)

    Zeros are apart because half of what a ReLU gives is zero: every scheme represents it without error, and
    in a bin it would outweigh all that a clipping threshold is chosen for.
    """

    def __init__(self) -> None:
        self._exponent = _SMALLEST_EXPONENT
        self._counts: Array = np.zeros(2 * BINS, dtype=np.int64)
        self.zeros = 0

    def update(self, values: Array) -> None:
        """Count `values`: float32 of any shape, all finite."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        self._widen(max(-float(flat.min()), float(flat.max())))
        per_width = np.float32(2.0**-self._exponent)
        scaled = np.empty(min(flat.size, _AT_ONCE), dtype=np.float32)
        bins = np.empty(scaled.shape, dtype=np.intp)
        for start in range(0, flat.size, _AT_ONCE):
            part = flat[start : start + _AT_ONCE]
            size = part.size
            np.multiply(part, per_width, out=scaled[:size])
            # Floor first: with the offset added before, values next to an edge would round across it.
            np.floor(scaled[:size], out=scaled[:size])
            np.add(scaled[:size], np.float32(BINS), out=bins[:size], casting="unsafe")
            self._counts += np.bincount(bins[:size], minlength=2 * BINS)
        zeros = flat.size - int(np.count_nonzero(flat))
        self._counts[BINS] -= zeros
        self.zeros += zeros

    def state(self) -> dict[str, Array]:
        """All that there is to know of it, as arrays by name, to be given to `from_state`."""
        scalars = {"exponent": self._exponent, "zeros": self.zeros}
        return {"counts": self._counts.copy(), **{name: np.asarray(value) for name, value in scalars.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Self:
        """The histogram that gave `state`."""
        made = cls()
        made._counts = np.array(state["counts"], dtype=np.int64)
        made._exponent, made.zeros = int(state["exponent"]), int(state["zeros"])
        return made

    def _widen(self, reach: float) -> None:
        """Double the width until BINS·width > reach."""
        # frexp gives the exponent e with 2^(e−1) ≤ reach < 2^e.
        wanted = math.frexp(reach)[1] - int(math.log2(BINS)) if reach > 0 else _SMALLEST_EXPONENT
        while self._exponent < wanted:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros_like(self._counts)
            self._counts[BINS // 2 : BINS // 2 + BINS] = pairs
            self._exponent += 1

    @property
    def width(self) -> float:
        """The width of a bin, a power of two."""
        return 2.0**self._exponent

    @property
    def count(self) -> int:
        """The number of values seen, zeros included."""
        return self.zeros + int(self._counts.sum())

    @property
    def counts(self) -> Array:
        """Counts without the zeros, int64 of 2·BINS: from −BINS·width to BINS·width."""
        return self._counts.copy()

    @property
    def positive(self) -> Array:
        """Counts above zero by distance from it, int64 of BINS."""
        return self._counts[BINS:].copy()

    @property
    def negative(self) -> Array:
        """Counts below zero by distance from it, int64 of BINS."""
        return self._counts[BINS - 1 :: -1].copy()
