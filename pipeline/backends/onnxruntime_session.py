"""An ONNX Runtime session as ours, on its CPU provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.types import Array, TensorSpec

MODEL = "model.onnx"

NAMED_ALIKE = ("float16", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"} | {f"tensor({name})": name for name in NAMED_ALIKE}


def opened(folder: Path, threads: int) -> OnnxRuntimeSession:
    """The engine in `folder`. The caller has checked its digest. Raises `InputError`."""
    return OnnxRuntimeSession(inference_session(folder / MODEL, threads))


def inference_session(path: Path, threads: int, profile: Path | None = None) -> Any:
    """The runtime's own session on an ONNX file, which writes a profile if asked to. Raises `InputError`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the cores from whatever runs between two calls.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Not session.set_denormal_as_zero: it changes the arithmetic of the whole thread, the baseline's too.
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"ONNX Runtime does not load {path.name}: {reason}") from None


class OnnxRuntimeSession:
    """An ONNX Runtime session as ours. Threads may share it.

    There is nothing to bind: `run` reads contiguous feeds where they lie, and since 1.19 its results are arrays on the
    runtime's own memory, which goes back to its arena, warm, when the caller drops them. `run_with_iobinding` on the
    same arrays is quicker by the binding's bookkeeping alone (benchmarks/results/overhead.md).
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_tensor(value) for value in session.get_inputs())
        self.outputs = tuple(_tensor(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._accept = Inputs(self.inputs).accept

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once."""
        accepted = self._accept(feeds)
        if self._session is None:
            raise RuntimeError("the session is closed")
        return dict(zip(self._names, self._session.run(self._names, accepted), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session = None


def _tensor(value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(value.name, TYPES.get(value.type, "object"), shape)
