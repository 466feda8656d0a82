"""What a machine does besides being measured.

A loaded machine slows the baseline far more than a lean engine, as what holds the cores longer meets others more often:
speed-ups that are measured then flatter. So what others took is counted, from the kernel's own books (proc(5):
`/proc/stat`, `/proc/loadavg`, `/proc/pressure/cpu`); on systems without these it is None.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from visiondeploy.benchmarks.report.measured import Activity

_STAT = Path("/proc/stat")
_LOAD = Path("/proc/loadavg")
_PRESSURE = Path("/proc/pressure/cpu")


@dataclass(frozen=True, slots=True)
class Books:
    """What the kernel has counted so far, in seconds: of all processes, of other virtual machines, of waiting."""

    busy: float | None
    stolen: float | None
    waiting: float | None
    load: float | None

    @classmethod
    def read(cls) -> Self:
        """As they are now."""
        busy, stolen = cpu_seconds(_text(_STAT), _ticks())
        load = _text(_LOAD).split()
        return cls(busy, stolen, waiting_seconds(_text(_PRESSURE)), float(load[0]) if load else None)


class ActivityWatch:
    """Counts from entering to leaving. What this process and those that it waited for took is not others'."""

    def __init__(self) -> None:
        self.activity: Activity | None = None
        """Known once it was left."""

    def __enter__(self) -> Self:
        self._began, self._own, self._books = time.monotonic(), _own_seconds(), Books.read()
        return self

    def __exit__(self, *exc: object) -> None:
        seconds, own, books = time.monotonic() - self._began, _own_seconds() - self._own, Books.read()
        self.activity = difference(self._books, books, own, seconds)


def difference(before: Books, after: Books, own: float, seconds: float) -> Activity:
    """What happened between two readings, some seconds apart; `own` is the CPU time that the measurement took."""

    def share(one: float | None, other: float | None, less: float = 0.0) -> float | None:
        # The books count in hundredths of a second: a little less than nothing is nothing.
        return None if one is None or other is None or seconds <= 0 else max(0.0, other - one - less) / seconds

    return Activity(
        seconds=seconds,
        others=share(before.busy, after.busy, own),
        stolen=share(before.stolen, after.stolen),
        waiting=share(before.waiting, after.waiting),
        load=None if before.load is None or after.load is None else (before.load, after.load),
    )


def cpu_seconds(stat: str, ticks: int) -> tuple[float | None, float | None]:
    """Of the text of `/proc/stat` the time that all cores worked, and the time that was stolen; `ticks` are a second's.

    Work is user, nice, system, irq and softirq; time of guests is in user and nice already.
    """
    fields = stat.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None, None
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


def waiting_seconds(pressure: str) -> float | None:
    """Of the text of `/proc/pressure/cpu` the time in which some task waited for a core."""
    line = next((line for line in pressure.splitlines() if line.startswith("some ")), "")
    total = line.rpartition("total=")[2]
    return int(total) / 1e6 if total.isdecimal() else None


def _own_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
