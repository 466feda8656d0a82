"""What the driver's library tells of the GPU. Here it is a double: that it is asked rightly is for a GPU to show."""

from __future__ import annotations

import ctypes

import pytest
from kit.rtx import no_gpu

from visiondeploy.pipeline.backends.tensorrt import device
from visiondeploy.pipeline.backends.tensorrt.device import Device, NoDevice, find_device


class Driver:
    """libcuda's functions as they write through their pointers."""

    def __init__(self, devices: int = 1, status: int = 0) -> None:
        self.devices, self.status = devices, status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, handle, ordinal: int) -> int:
        handle._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name, length: int, handle) -> int:
        name.value = b"NVIDIA L4"
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, handle) -> int:
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuDriverGetVersion(self, version) -> int:
        version._obj.value = 13000
        return 0

    def cuGetErrorName(self, status: int, text) -> int:
        text._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0


def with_driver(monkeypatch, driver: Driver) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)


def test_a_gpu_has_a_name_and_a_target(monkeypatch) -> None:
    with_driver(monkeypatch, Driver())
    assert find_device() == Device("NVIDIA L4", "sm_89", 13000)


def test_without_a_driver(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(
        NoDevice, match=r"^no CUDA device \(libcuda\.so\.1, which the NVIDIA driver brings, is not here\)$"
    ):
        find_device()


@pytest.mark.parametrize(
    ("driver", "said"),
    [(Driver(status=100), r"\(CUDA_ERROR_NO_DEVICE, status 100\)"), (Driver(devices=0), "shows none")],
)
def test_with_a_driver_that_has_no_gpu(monkeypatch, driver, said) -> None:
    with_driver(monkeypatch, driver)
    with pytest.raises(NoDevice, match=rf"^no CUDA device .*{said}"):
        find_device()


@pytest.mark.gpu
@pytest.mark.skipif(no_gpu() is not None, reason=str(no_gpu()))
def test_it_says_what_pycuda_says() -> None:
    import pycuda.driver as cuda

    cuda.init()
    found, known = find_device(), cuda.Device(0)
    assert (found.name, found.driver) == (known.name(), cuda.get_driver_version())
    assert found.target == device.target_of(known.compute_capability())
