"""The CUDA device of this machine, as the driver's own library tells it: no package is needed to ask.

The functions are those of the CUDA driver API (cuda.h); the library is the one that every NVIDIA driver brings.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from visiondeploy.pipeline.backends.tensorrt.targets import target_of

LIBRARY = "libcuda.so.1"

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: its name, its compute capability as a target ("sm_86"), and the CUDA version of the driver (13000)."""

    name: str
    target: str
    driver: int


class NoDevice(Exception):
    """There is no CUDA device; the message says why, without a full stop."""


def library() -> Any:
    """The driver's library, initialised. Raises `NoDevice`."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        raise NoDevice(f"no CUDA device ({LIBRARY}, which the NVIDIA driver brings, is not here)") from None
    check(cuda, cuda.cuInit(0))
    return cuda


def find_device() -> Device:
    """The first device that `CUDA_VISIBLE_DEVICES` leaves. Raises `NoDevice`."""
    cuda = library()
    count, handle, driver = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    if not count.value:
        raise NoDevice("no CUDA device (the driver is here and shows none)")
    check(cuda, cuda.cuDeviceGet(ctypes.byref(handle), 0))
    name = ctypes.create_string_buffer(256)
    check(cuda, cuda.cuDeviceGetName(name, len(name), handle))
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle))
        capability.append(value.value)
    check(cuda, cuda.cuDriverGetVersion(ctypes.byref(driver)))
    return Device(name.value.decode(errors="replace"), target_of((capability[0], capability[1])), driver.value)


def check(cuda: Any, status: int) -> None:
    """Raise `NoDevice` with the driver's own name for a status that is not CUDA_SUCCESS."""
    if status:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(text))
        raise NoDevice(f"no CUDA device ({(text.value or b'unknown error').decode()}, status {status})")
