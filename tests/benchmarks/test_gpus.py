"""The watch on GPUs, with a double for NVML where there is no GPU; that its names exist is checked on the real one."""

from __future__ import annotations

import time

import pynvml
import pytest

from visiondeploy.benchmarks import gpus
from visiondeploy.benchmarks.gpus import GpuWatch


class Board:
    """NVML with two GPUs: one that heats up and clocks down, one that has no power meter and rests."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVMLError = pynvml.NVMLError

    def __init__(self) -> None:
        self.readings = 0
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetName(self, gpu: int) -> str:
        return ("NVIDIA A10", "Tegra")[gpu]

    def nvmlDeviceGetClockInfo(self, gpu: int, kind: int) -> int:
        self.readings += 1
        return 1000 if gpu else (1695, 1410)[self.readings > 1]

    def nvmlDeviceGetMaxClockInfo(self, gpu: int, kind: int) -> int:
        return (1695, 1000)[gpu]

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        if gpu:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 149_000

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: int) -> int:
        return self.nvmlDeviceGetPowerUsage(gpu) + 1000

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
        return (71, 40)[gpu]

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: int) -> int:
        return (pynvml.nvmlClocksEventReasonSwPowerCap, pynvml.nvmlClocksEventReasonGpuIdle)[gpu]


@pytest.fixture
def board(monkeypatch):
    found = Board()
    monkeypatch.setattr(gpus, "_nvml", lambda: found)
    return found


def watched(board: Board):
    with GpuWatch(0.001) as watch:
        while board.readings < 6:
            time.sleep(0.001)
    return watch.loads


def test_clocks_power_and_why_it_clocked_down(board) -> None:
    busy, idle = watched(board)
    assert (busy.name, busy.driver, busy.sm_mhz_max, busy.watts, busy.celsius) == ("NVIDIA A10", "580.1", 1695, 149, 71)
    assert busy.sm_mhz == (1410, 1410, 1695)
    assert busy.throttled == ("power cap",)
    assert (idle.throttled, idle.watts, idle.watts_limit) == ((), None, None)


def test_the_library_is_given_back(board) -> None:
    watched(board)
    assert board.open == 0


def test_a_gpu_that_goes_away_costs_the_readings_and_no_more(board, monkeypatch) -> None:
    def lost(self: Board) -> str:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(Board, "nvmlSystemGetDriverVersion", lost)
    assert watched(board) == ()


def test_without_the_package_nothing_is_watched(monkeypatch) -> None:
    monkeypatch.setattr(gpus, "_nvml", lambda: None)
    with GpuWatch() as watch:
        pass
    assert watch.loads == ()


def test_every_name_that_is_used_is_in_the_real_package() -> None:
    names = [name for name in vars(Board) if name.startswith(("nvml", "NVML"))]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert set(gpus.REASONS) == {
        pynvml.nvmlClocksEventReasonSwPowerCap,
        pynvml.nvmlClocksThrottleReasonHwSlowdown,
        pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }


@pytest.mark.gpu
def test_a_real_gpu_tells_its_clock() -> None:
    with GpuWatch() as watch:
        time.sleep(0.5)
    if not watch.loads:
        pytest.skip("no CUDA device")
    assert watch.loads[0].sm_mhz is not None
