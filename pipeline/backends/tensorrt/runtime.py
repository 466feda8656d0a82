"""A TensorRT engine on a GPU, through PyCUDA: pinned host buffers, one stream, events around each part of a call.

Everything happens in the device's primary context, which is the one of torch and of TensorRT itself: what is measured
beside it shares its memory, and no second context costs some.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from visiondeploy.errors import InputError, ResourceError
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.pipeline.backends.inside import WARMUPS
from visiondeploy.pipeline.backends.tensorrt.builder import logger
from visiondeploy.pipeline.backends.tensorrt.device import library
from visiondeploy.pipeline.backends.tensorrt.flavour import Flavour
from visiondeploy.pipeline.backends.tensorrt.graph import CudaGraph
from visiondeploy.pipeline.backends.tensorrt.profiler import profiler
from visiondeploy.pipeline.backends.tensorrt.profiles import Profile
from visiondeploy.pipeline.backends.tensorrt.sidecar import ANEW, Port, Sidecar
from visiondeploy.types import Array, TensorSpec

KEPT = 1000
"""Calls whose parts are kept."""

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A tensor on both sides: page-locked on the host, so that it is copied while the host goes on."""

    host: Array
    device: Any


class TensorRtSession:
    """A deserialised engine. Threads may share it; one is served after the other, as there is one execution context."""

    def __init__(self, flavour: Flavour, data: bytes, sidecar: Sidecar, *, profiled: bool = False) -> None:
        """With `profiled` it is for `time_layers`, and no CUDA graph stands for its layers.

        Raises `InputError` where TensorRT does not take the plan.
        """
        import pycuda.driver as cuda

        self._cuda = cuda
        self._captures = flavour.captures or profiled
        self._ports = {port.name: port for port in (*sidecar.inputs, *sidecar.outputs)}
        self._profile = {name: Profile(found.min, found.opt, found.max) for name, found in sidecar.profiles[0].items()}
        self.inputs, self.outputs = (tuple(map(_spec, ports)) for ports in (sidecar.inputs, sidecar.outputs))
        self._accept = Inputs(self.inputs).accept
        self._lock = threading.Lock()
        self._shapes: Shapes = {}
        self._buffers: dict[str, _Buffer] = {}
        self._graph: CudaGraph | None = None
        self._fresh = True
        self._parts: deque[tuple[float, float, float]] = deque(maxlen=KEPT)
        cuda.init()
        self._primary: Any = cuda.Device(0).retain_primary_context()
        try:
            with self._current():
                trt = flavour.module()
                self._log = logger(trt)
                self._runtime: Any = trt.Runtime(self._log)
                self._engine: Any = _deserialise(self._runtime, data, self._log)
                captures = flavour.captures and not profiled
                self._context: Any = _execution_context(trt, self._engine, self._log, captures=captures)
                self._profiler: Any = profiler(trt) if profiled else None
                self._stream: Any = cuda.Stream()
                self._marks = tuple(cuda.Event() for _ in range(4))
        except BaseException:
            self._primary.detach()
            raise

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Copy in, run once, copy out.

        Raises `UsageError` for feeds that do not fit, `InputError` for shapes that the engine's profile does not hold.
        """
        accepted = self._accept(feeds)
        with self._lock:
            if self._context is None:
                raise RuntimeError("the session is closed")
            return self._run(accepted)

    def time_layers(self, feeds: Mapping[str, Array], runs: int) -> list[list[tuple[str, float]]]:
        """Name and milliseconds of each layer, in order, for each of `runs` runs after some that are not counted.

        Raises as `infer`, and `InputError` where TensorRT does not time the layers.
        """
        accepted = self._accept(feeds)
        with self._lock:
            if self._context is None or self._profiler is None:
                raise RuntimeError("the session is closed, or is not for timing layers")
            self._context.profiler = self._profiler
            # The call then ends as an unprofiled one does, and times are collected after it.
            self._context.enqueue_emits_profile = False
            for _ in range(WARMUPS + runs):
                self._profiler.begin()
                self._run(accepted)
                with self._current():
                    told = self._context.report_to_profiler()
                if not told:
                    raise InputError(f"TensorRT does not time the layers of the engine: {self._log.reason()}.")
            found: list[list[tuple[str, float]]] = self._profiler.runs[-runs:]
            return found

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        shapes = {name: tuple(feed.shape) for name, feed in feeds.items()}
        start, fed, computed, end = self._marks
        with self._current():
            if shapes != self._shapes:
                self._allocate(shapes)
            start.record(self._stream)
            for name in shapes:
                buffer = self._buffers[name]
                np.copyto(buffer.host, feeds[name])
                self._cuda.memcpy_htod_async(buffer.device, buffer.host, self._stream)
            fed.record(self._stream)
            self._enqueue()
            computed.record(self._stream)
            for spec in self.outputs:
                buffer = self._buffers[spec.name]
                self._cuda.memcpy_dtoh_async(buffer.host, buffer.device, self._stream)
            end.record(self._stream)
            end.synchronize()
            self._parts.append((start.time_till(fed), fed.time_till(computed), computed.time_till(end)))
            found = {spec.name: self._buffers[spec.name].host.copy() for spec in self.outputs}
            if self._fresh and not self._captures:
                # After one plain call, which TensorRT needs to take in new shapes before it can be captured.
                self._graph = CudaGraph.capture(library(), self._stream.handle, self._execute)
            self._fresh = False
        return found

    def parts(self) -> dict[str, float]:
        """Milliseconds by the device's own events, median of the last calls: copying in, computing, copying out."""
        if not self._parts:
            return {}
        return {
            name: statistics.median(times)
            for name, times in zip(("H2D", "compute", "D2H"), zip(*self._parts, strict=True), strict=True)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock, self._current():
            self._release_buffers()
            # In this order: TensorRT's objects do not hold each other.
            self._context = None
            self._profiler = None
            self._engine = None
            self._runtime = None
            self._stream = None
            self._marks = ()
        self._primary.detach()
        self._primary = None

    @contextmanager
    def _current(self) -> Iterator[None]:
        """With the primary context as the thread's own; whose turn it was before comes back."""
        self._primary.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def _allocate(self, shapes: Shapes) -> None:
        """Buffers for inputs of these shapes, and for the outputs that they make."""
        for name, shape in shapes.items():
            if not self._profile[name].admits(shape):
                found = "×".join(map(str, shape))
                raise InputError(
                    f"input '{name}' is {found}, and the engine takes {self._profile[name]}: set engine.batch, "
                    f"engine.height or engine.width wider, and {ANEW}."
                )
        self._release_buffers()
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise InputError(f"the engine does not take the input '{name}': {self._log.reason()}: {ANEW}.")
        for spec in self.outputs:
            shapes = {**shapes, spec.name: tuple(self._context.get_tensor_shape(spec.name))}
        for name, shape in shapes.items():
            try:
                host = self._cuda.pagelocked_empty(shape, np.dtype(self._ports[name].dtype))
                device = self._cuda.mem_alloc(host.nbytes)
            except self._cuda.Error as error:
                size = "×".join(map(str, shape))
                raise ResourceError(
                    f"no memory for '{name}', {size} ({error}): free some, or lower the batch."
                ) from error
            self._context.set_tensor_address(name, int(device))
            self._buffers[name] = _Buffer(host, device)
        self._shapes = {spec.name: shapes[spec.name] for spec in self.inputs}
        self._fresh = True

    def _enqueue(self) -> None:
        done = self._graph.launch(self._stream.handle) if self._graph is not None else self._execute()
        if not done:
            raise InputError(f"the engine does not run: {self._log.reason()}: {ANEW}.")

    def _execute(self) -> bool:
        return bool(self._context.execute_async_v3(self._stream.handle))

    def _release_buffers(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        for buffer in self._buffers.values():
            buffer.device.free()
        self._buffers, self._shapes = {}, {}


def inspect(flavour: Flavour, data: bytes, shapes: Shapes) -> str:
    """What the engine inspector tells of a plan's layers, on the GPU that it was just built on.

    Where an axis is free, types are told of a context alone whose inputs have shapes: those given.
    """
    trt = flavour.module()
    log = logger(trt)
    runtime = trt.Runtime(log)
    engine = _deserialise(runtime, data, log)
    context = engine.create_execution_context()
    for name, shape in shapes.items():
        context.set_input_shape(name, shape)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE))


def _deserialise(runtime: Any, data: bytes, log: Any) -> Any:
    """The engine of bytes that were checked. Raises `InputError`."""
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise InputError(f"TensorRT does not load the plan: {log.reason()}: {ANEW}.")
    return engine


def _execution_context(trt: Any, engine: Any, log: Any, *, captures: bool) -> Any:
    """What runs an engine, and holds its scratch memory. Raises `ResourceError` where there is none."""
    if captures:
        settings = engine.create_runtime_config()
        # It captures after it has compiled kernels for a shape, which nobody outside of it can know.
        settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = engine.create_execution_context(settings)
    else:
        context = engine.create_execution_context()
    if context is None:
        raise ResourceError(f"TensorRT cannot run the plan ({log.reason()}): free memory of the GPU.")
    return context


def _spec(port: Port) -> TensorSpec:
    return TensorSpec(port.name, port.dtype, port.shape)
