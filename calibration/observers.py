"""Observers watch a tensor over a calibration set, in constant memory, and say which range to represent.

A new observer is one class and one line in `OBSERVERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visiondeploy.errors import InputError, unknown_name
from visiondeploy.types import Array


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a tensor to represent; low ≤ high, both finite."""

    low: float
    high: float


class Observer(Protocol):
    """Sees every value of one tensor, an image at a time."""

    def update(self, values: Array) -> None:
        """Take note of one batch of values, float32 of any shape."""
        ...

    def range(self) -> Range:
        """The range seen so far. Raises `InputError` where nothing, or a value that is no number, was seen."""
        ...


class MinMax:
    """The smallest and the largest value ever seen: nothing is clipped."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, values: Array) -> None:
        """Widen the range to hold `values`."""
        # min and max carry NaN on, so that range() can refuse it.
        self._low = np.minimum(self._low, values.min(initial=np.inf))
        self._high = np.maximum(self._high, values.max(initial=-np.inf))

    def range(self) -> Range:
        """The range seen so far."""
        if not (np.isfinite(self._low) and np.isfinite(self._high)):
            raise InputError(
                f"calibration saw the range {self._low}…{self._high}: the network gives NaN or infinity on a "
                "calibration image, or no image was given."
            )
        return Range(float(self._low), float(self._high))


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "min-max": MinMax,
}


def observer_of(name: str) -> Callable[[], Observer]:
    """The observer's factory. Raises `UsageError` for one that is not in the table."""
    if name not in OBSERVERS:
        raise unknown_name("observer", name, OBSERVERS)
    return OBSERVERS[name]
