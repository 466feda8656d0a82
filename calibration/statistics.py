"""What calibration keeps of one tensor: constant memory, one pass, enough for every observer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

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
        self._low: Array = np.asarray([np.inf], dtype=np.float32)
        self._high: Array = -self._low
        self._sums: Array | None = None
        self._per_channel = 0

    def update(self, values: Array) -> None:
        """Take note of one sample's values: float32, channels on axis 1 where there are two axes or more.

        Every sample must have the same number of channels.
        """
        if not values.size:
            return
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        lows, highs = np.atleast_1d(values.min(axis=others)), np.atleast_1d(values.max(axis=others))
        low, high = float(lows.min()), float(highs.max())
        first = self._sums is None
        # np.minimum and np.maximum carry NaN on, so that extremes() can refuse it.
        self._low, self._high = np.minimum(self._low, lows), np.maximum(self._high, highs)
        if not (np.isfinite(low) and np.isfinite(high)):
            return
        self.average_low = low if first else DECAY * self.average_low + (1 - DECAY) * low
        self.average_high = high if first else DECAY * self.average_high + (1 - DECAY) * high
        sums = np.atleast_1d(values.sum(axis=others, dtype=np.float64))
        self._sums = sums if self._sums is None else self._sums + sums
        self._per_channel += values.size // sums.size
        self.histogram.update(values)

    def state(self) -> dict[str, Array]:
        """All that there is to know, as arrays by name, to be given to `from_state`."""
        own = {
            "average": np.asarray([self.average_low, self.average_high]),
            "low": self._low.copy(),
            "high": self._high.copy(),
            "sums": np.asarray([] if self._sums is None else self._sums, dtype=np.float64),
            "per_channel": np.asarray(self._per_channel),
        }
        return own | {f"histogram.{name}": value for name, value in self.histogram.state().items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Self:
        """The statistics that gave `state`."""
        made = cls()
        prefix = "histogram."
        made.histogram = Histogram.from_state(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        made.average_low, made.average_high = (float(value) for value in state["average"])
        made._low, made._high = np.array(state["low"]), np.array(state["high"])
        made._sums = np.array(state["sums"]) if state["sums"].size else None
        made._per_channel = int(state["per_channel"])
        return made

    @property
    def channel_mean(self) -> Array:
        """The mean of each channel, float64 of C; one mean for a tensor of fewer than two axes."""
        self.extremes()
        return np.asarray(self._sums) / self._per_channel

    @property
    def channel_extremes(self) -> tuple[Array, Array]:
        """The smallest and the largest value of each channel, float32 of C each. Raises as `extremes`."""
        self.extremes()
        return self._low.copy(), self._high.copy()

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value. Raises `InputError` where there is none, or one is no number."""
        low, high = float(self._low.min()), float(self._high.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"calibration saw the range {low}…{high}: the network gives NaN or infinity on a "
                "calibration image, or no image was given."
            )
        return low, high
