"""What calibration keeps of one tensor: constant memory, one pass, enough for every observer."""

from __future__ import annotations

import numpy as np

from visiondeploy.calibration.histogram import Histogram
from visiondeploy.errors import InputError
from visiondeploy.types import Array

DECAY = 0.9
"""Weight of the past in the moving average of the extremes, by sample."""


class TensorStatistics:
    """Statistics of every value of one tensor over a calibration set, fed a sample at a time.

    `histogram`       of all values
    `average_low`, `average_high`
                      exponential moving averages of each sample's smallest and largest value: the first
                      sample's to begin with, then DECAY·average + (1 − DECAY)·sample (Jacob et al. 2018,
                      arXiv:1712.05877, section 3.1)

    From the first value on that is NaN or infinite, `extremes()` raises, and the rest means nothing.
    """

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.average_low = self.average_high = 0.0
        self._low, self._high = np.inf, -np.inf
        self._sums: Array | None = None
        self._per_channel = 0

    def update(self, values: Array) -> None:
        """Take note of one sample's values: float32, channels on axis 1 where there are two axes or more.

        Every sample must have the same number of channels.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        first = self._sums is None
        # np.minimum and np.maximum carry NaN on, so that extremes() can refuse it.
        self._low, self._high = float(np.minimum(self._low, low)), float(np.maximum(self._high, high))
        if not (np.isfinite(low) and np.isfinite(high)):
            return
        self.average_low = low if first else DECAY * self.average_low + (1 - DECAY) * low
        self.average_high = high if first else DECAY * self.average_high + (1 - DECAY) * high
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        sums = np.atleast_1d(values.sum(axis=others, dtype=np.float64))
        self._sums = sums if self._sums is None else self._sums + sums
        self._per_channel += values.size // sums.size
        self.histogram.update(values)

    @property
    def channel_mean(self) -> Array:
        """The mean of each channel, float64 of C; one mean for a tensor of fewer than two axes."""
        self.extremes()
        return np.asarray(self._sums) / self._per_channel

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value. Raises `InputError` where there is none, or one is no number."""
        if not (np.isfinite(self._low) and np.isfinite(self._high)):
            raise InputError(
                f"calibration saw the range {self._low}…{self._high}: the network gives NaN or infinity on a "
                "calibration image, or no image was given."
            )
        return self._low, self._high
