"""An OpenVINO model as a session: compiled for the shapes it is fed, its inputs and outputs bound to our memory.

Given a tensor for an output whose shape is free, OpenVINO computes into memory of its own and copies, silently; with
shapes fixed its last kernel writes into the tensor. It then also fuses chains of small operations that it leaves apart
otherwise (an int8 UNet at 360×480: 3 % less processor time). So a model is compiled for the shapes that it meets, as
long as those are few.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.buffers import Buffer, Pool
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.types import Array, TensorSpec

MODEL = "model.xml"
DESCRIPTION = "engine.json"

Shapes = tuple[tuple[int, ...], ...]

FIXED = 2
"""Sets of input shapes that a session compiles its model for, each with weights of its own in memory: say a single
image and a full batch. Further ones run on the model with free axes."""


def opened(folder: Path, threads: int) -> OpenVinoSession:
    """The engine in `folder`. The caller has checked its digests. Raises `InputError`."""
    description = described(folder)
    return OpenVinoSession(read(folder / MODEL), threads, description["inputs"], description["outputs"])


def described(folder: Path) -> dict[str, Any]:
    """What lies beside the IR: the names of inputs and outputs in the graph, and the stored types of layers.

    Raises `InputError`.
    """
    try:
        found: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / DESCRIPTION} cannot be read ({error}): build the engine anew.") from None
    return found


def read(path: Path) -> Any:
    """The model in an IR file. Raises `InputError`."""
    import openvino as ov

    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise InputError(f"OpenVINO does not load {path.name}: {reason(error)}") from None


def compiled(
    model: Any, threads: int, shapes: Mapping[str, Sequence[int]] | None = None, profiled: bool = False
) -> Any:
    """The model compiled for the CPU, its inputs fixed to `shapes` by name if given. Raises `InputError`.

    With `profiled` its requests keep the time of each layer.
    """
    import openvino as ov

    settings = {
        # The default hint may be bfloat16: then an fp32 engine would not compute in fp32.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "PERF_COUNT": profiled,
    }
    try:
        if shapes is not None:
            model = model.clone()
            model.reshape({port(model.inputs, name): list(shape) for name, shape in shapes.items()})
        return ov.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise InputError(f"OpenVINO does not compile the model: {reason(error)}") from None


class OpenVinoSession:
    """A model as a session. Threads may share it; their calls run one after the other, each on all its cores."""

    def __init__(self, model: Any, threads: int, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.inputs = tuple(_spec(name, port(model.inputs, name)) for name in inputs)
        self.outputs = tuple(_spec(name, port(model.outputs, name)) for name in outputs)
        self._accept = Inputs(self.inputs).accept
        self._model, self._threads = model, threads
        self._fixed: dict[Shapes, _Request] = {}
        self._free: _Request | None = None
        self._one_at_a_time = Lock()
        # Compiled before the first call, which should not find out that the engine is damaged.
        self._request(_single(self.inputs))

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Feeds are read where they lie; outputs are written where the caller reads them."""
        accepted = self._accept(feeds)
        shapes = tuple([feed.shape for feed in accepted.values()])
        with self._one_at_a_time:
            if self._model is None:
                raise RuntimeError("the session is closed")
            return (self._fixed.get(shapes) or self._request(shapes)).run(accepted.values())

    def _request(self, shapes: Shapes | None) -> _Request:
        """One for these shapes while there are few, else the one that takes any (None asks for that)."""
        names = [spec.name for spec in self.inputs]
        if shapes is not None and len(self._fixed) < FIXED:
            found = compiled(self._model, self._threads, dict(zip(names, shapes, strict=True)))
            return self._fixed.setdefault(shapes, _Request(found, names, self.outputs))
        if self._free is None:
            self._free = _Request(compiled(self._model, self._threads), names, self.outputs)
        return self._free

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._model, self._free = None, None
        self._fixed.clear()


class _Request:
    """An inference request of a compiled model, with the memory that it writes its outputs to."""

    def __init__(self, model: Any, inputs: Sequence[str], outputs: Sequence[TensorSpec]) -> None:
        import openvino as ov

        self._request = model.create_infer_request()
        self._tensor = ov.Tensor
        self._inputs = []
        for name in inputs:
            found = port(model.inputs, name)
            shape = ov.Shape(list(found.shape)) if found.get_partial_shape().is_static else None
            self._inputs.append((model.inputs.index(found), shape, found.get_element_type()))
        # OpenVINO merges nodes that compute the same: two names may be of one output.
        self._outputs = [(spec.name, model.outputs.index(port(model.outputs, spec.name))) for spec in outputs]
        self._pools = {index: self._pool(model.outputs[index]) for _, index in self._outputs}
        self._bound: dict[int, Buffer[Any]] = {}

    def _pool(self, output: Any) -> Pool[Any] | None:
        """Memory for an output; None where its shape is known only when it is there."""
        if not output.get_partial_shape().is_static:
            return None
        kind, shape = output.get_element_type(), output.shape
        return Pool(tuple(shape), np.dtype(kind.to_dtype()), lambda array: self._tensor(array, shape, kind))

    def run(self, feeds: Iterable[Array]) -> dict[str, Array]:
        """Run on feeds that fit, in the order of the inputs.

        The request does not hold the feeds, it has pointers to them, which are replaced before it reads again.
        """
        request = self._request
        for feed, (index, shape, kind) in zip(feeds, self._inputs, strict=True):
            # Made this way a tensor shares memory even if that is read-only; the element type was checked.
            request.set_input_tensor(index, self._tensor(feed, feed.shape if shape is None else shape, kind))
        for index, pool in self._pools.items():
            if pool is not None and (buffer := pool.take()) is not self._bound.get(index):
                request.set_output_tensor(index, buffer.handle)
                self._bound[index] = buffer
        request.infer(share_outputs=True)  # else the wrapper copies them all once more
        return {
            name: self._bound[index].lend() if index in self._bound else request.get_output_tensor(index).data.copy()
            for name, index in self._outputs
        }


def port(ports: Any, name: str) -> Any:
    """The input or output that carries a name of the graph. Raises `InputError`."""
    for found in ports:
        if name in found.get_names():
            return found
    raise InputError(f"the engine has no input or output '{name}': build it anew.")


def reason(error: Exception) -> str:
    """The last line that says something: OpenVINO puts its own source positions first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _spec(name: str, found: Any) -> TensorSpec:
    shape = tuple(
        axis.get_length() if axis.is_static else f"axis{number}"
        for number, axis in enumerate(found.get_partial_shape())
    )
    return TensorSpec(name, str(found.get_element_type().to_dtype()), shape)


def _single(inputs: Sequence[TensorSpec]) -> Shapes | None:
    """The shapes of a batch of one; None where more than the batch is free."""
    shapes = [(1, *spec.shape[1:]) if spec.shape and isinstance(spec.shape[0], str) else spec.shape for spec in inputs]
    found = tuple(tuple(size for size in shape if isinstance(size, int)) for shape in shapes)
    return found if all(len(known) == len(spec.shape) for known, spec in zip(found, inputs, strict=True)) else None
