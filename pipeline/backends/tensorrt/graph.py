"""A CUDA graph of one enqueue, captured and replayed through the driver's own library: PyCUDA has no graphs.

CUDA driver API, "Stream Management" and "Graph Management". One launch then stands for all kernels of an engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Self

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do neither fails nor is captured


class CudaGraph:
    """A captured enqueue. It holds the shapes and addresses that it was captured with."""

    def __init__(self, cuda: Any, executable: ctypes.c_void_p) -> None:
        self._cuda = cuda
        self._executable = executable

    @classmethod
    def capture(cls, cuda: Any, stream: int, enqueue: Callable[[], bool]) -> Self | None:
        """What `enqueue` puts on a stream that is not the default one; None where it cannot be captured.

        `cuda` is the driver's library, `stream` a handle. What was captured has not run.
        """
        graph, executable, handle = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p(stream)
        if cuda.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL):
            return None
        done = False
        try:
            done = enqueue()
        finally:
            # Also after a failure, or the stream would stay in capture mode and refuse all else.
            status = cuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        if not graph:
            return None
        try:
            if not done or status:
                return None
            if cuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_uint64(0)):
                return None
        finally:
            cuda.cuGraphDestroy(graph)
        return cls(cuda, executable)

    def launch(self, stream: int) -> bool:
        """Replay it on a stream."""
        return not self._cuda.cuGraphLaunch(self._executable, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free it."""
        if self._executable:
            self._cuda.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()
