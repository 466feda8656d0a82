"""Clocks, power and temperature of the GPUs while something is measured on them, by nvidia-ml-py where it is there.

A GPU that has reached its power or temperature limit clocks down, and what is measured then is the limit. NVML
(nvml.h) tells of that; without its package or its library there is nothing to tell.
"""

from __future__ import annotations

import importlib
import statistics
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from visiondeploy.benchmarks.report.schema import GpuLoad

INTERVAL = 0.2
"""Seconds between two readings."""

# nvmlClocksEventReasons… in nvml.h. Idle and clocks that were set by somebody are no throttling.
REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


@dataclass(slots=True)
class _Readings:
    """What was read of one GPU: by quantity, and the reasons for which it clocked down."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    reasons: int = 0


class GpuWatch:
    """Reads all GPUs in a thread of its own, from entering to leaving; without NVML it has none."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.loads: tuple[GpuLoad, ...] = ()
        """One for each GPU, when it was left."""

    def __enter__(self) -> Self:
        nvml = _nvml()
        if nvml is not None:
            self._thread = threading.Thread(target=self._run, args=(nvml,), name="gpu watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, nvml: Any) -> None:
        try:
            with _initialised(nvml):
                handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
                watched = [(handle, _Readings()) for handle in handles]
                while True:
                    for handle, readings in watched:
                        _read(nvml, handle, readings)
                    if self._done.wait(self._interval):
                        break
                driver = nvml.nvmlSystemGetDriverVersion()
                self.loads = tuple(
                    _load(nvml, index, handle, str(driver), readings)
                    for index, (handle, readings) in enumerate(watched)
                )
        except nvml.NVMLError:
            return  # no library, no driver, or a GPU that went away: a measurement does not fail for that


def _nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


@contextmanager
def _initialised(nvml: Any) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _read(nvml: Any, handle: Any, readings: _Readings) -> None:
    """One reading of each quantity that this GPU has."""
    wanted = {
        "sm": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
    }
    for name, ask in wanted.items():
        value = _ask(nvml, ask)
        if value is not None:
            readings.values[name].append(float(value))
    readings.reasons |= _ask(nvml, lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0


def _load(nvml: Any, index: int, handle: Any, driver: str, readings: _Readings) -> GpuLoad:
    limit = _ask(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000)
    watts, celsius = readings.values.get("watts"), readings.values.get("celsius")
    return GpuLoad(
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        driver=driver,
        sm_mhz=_spread(readings.values),
        sm_mhz_max=_ask(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        watts=max(watts) if watts else None,
        watts_limit=limit,
        celsius=max(celsius) if celsius else None,
        throttled=tuple(said for bit, said in REASONS.items() if readings.reasons & bit),
    )


def _spread(values: Mapping[str, list[float]]) -> tuple[float, float, float] | None:
    found = values.get("sm")
    return (min(found), statistics.median(found), max(found)) if found else None


def _ask(nvml: Any, question: Any) -> Any:
    """An answer; None where this GPU has none, as boards without a power meter have."""
    try:
        return question()
    except nvml.NVMLError:
        return None
