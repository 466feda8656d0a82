"""From values to pixels, and the round numbers that stand along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from visiondeploy.benchmarks.report.pareto import ticks as log_ticks


@dataclass(frozen=True, slots=True)
class Linear:
    """`low` stands at pixel `start`, `high` at pixel `end`; either may be the larger one."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands, in pixels."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round numbers within the limits: 1, 2, 2.5 or 5 of a power of ten apart, at most so many."""
        low, high = sorted((self.low, self.high))
        step = round_step((high - low) / max(1, most - 1))
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Log:
    """As `Linear` of the logarithms; for positive values."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands, in pixels."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round numbers within the limits, at most about so many."""
        if self.high < self.low * 3:
            return Linear(self.low, self.high, self.start, self.end).ticks(most)
        found = log_ticks(self.low, self.high)
        return found if len(found) <= most else found[:: math.ceil(len(found) / most)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least that."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def span(values: Iterable[float], room: float = 0.08, least: float = 0.0) -> tuple[float, float]:
    """The limits of an axis that shows all values, with room at both ends, and at least that far apart."""
    found = list(values)
    low, high = min(found), max(found)
    width = max(high - low, least, abs(high) * 1e-6, 1e-12)
    middle = (low + high) / 2
    half = width * (0.5 + room)
    return middle - half, middle + half


def log_span(values: Iterable[float], room: float = 0.08, least: float = 1.0) -> tuple[float, float]:
    """As `span` on a log scale; `least` is a ratio."""
    low, high = span(map(math.log, values), room, math.log(least))
    return math.exp(low), math.exp(high)


def spelt(values: Iterable[float]) -> Callable[[float], str]:
    """How numbers along an axis are written: all with the digits that the finest needs, and a true minus."""
    digits = max((_digits(value) for value in values), default=0)
    return lambda value: f"{value:.{digits}f}".replace("-", "−")


def _digits(value: float) -> int:
    text = f"{value:.10f}".rstrip("0")
    return len(text) - text.index(".") - 1
