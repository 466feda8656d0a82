"""Backend `onnxruntime`: ONNX Runtime on its CPU provider."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from visiondeploy.calibration.watching import Watch
from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends import onnx_inside
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.pipeline.backends.inside import WARMUPS, Inner, LayerDetail, LayerTime, Shapes
from visiondeploy.pipeline.backends.onnx_file import stored_types
from visiondeploy.pipeline.backends.onnxruntime_inside import WORK, with_kernels
from visiondeploy.pipeline.backends.onnxruntime_profile import Kernel, kernels, layer_times
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session, TensorSpec

MODEL = "model.onnx"
WEIGHTS = "model.data"
"""Where `save_onnx` puts the weights of a graph over 2 GB, which protobuf does not hold."""

NAMED_ALIKE = ("float16", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"} | {f"tensor({name})": name for name in NAMED_ALIKE}


class OnnxRuntimeBackend(HostBackend):
    """ONNX Runtime, CPU. The engine is the ONNX file: its optimisation is quick and bound to the CPU it runs on."""

    name = "onnxruntime"
    source: Source = "onnx"
    precisions = frozenset({Precision.FP32, Precision.FP16, Precision.INT8})
    scheme = "cpu-onnxruntime"
    packages = ("onnxruntime",)
    single_layers = True

    def unavailable(self) -> str | None:
        """None where onnxruntime is installed."""
        return not_installed("onnxruntime")

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """Take the file over, and its weights where they lie beside it, after ONNX Runtime has accepted it."""
        shutil.copyfile(source / MODEL, folder / MODEL)
        if (source / WEIGHTS).exists():
            shutil.copyfile(source / WEIGHTS, folder / WEIGHTS)
        inference_session(folder / MODEL, threads=1)

    def load(self, folder: Path, threads: int) -> Session:
        """A session on the CPU provider alone."""
        return OnnxRuntimeSession(inference_session(folder / MODEL, threads))

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The kernels of one profiled run: what was executed, on which provider, on which types."""
        executed = [kernel.layer for kernel in _kernels(folder, threads, feeds, runs=1)]
        layers = {layer.name: layer for layer in executed if WORK.search(layer.kind)}
        return Realised(tuple(layers.values()), stored_types(folder / MODEL))

    def layers(self, folder: Path, threads: int, shapes: Shapes, recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
        """The graph's layers: of what ONNX Runtime makes of it there are names and types, but no shapes."""
        return with_kernels(onnx_inside.graph_layers(folder / MODEL, shapes), recorded)

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """The kernels of the runtime's profile, whose times have a resolution of a microsecond."""
        graph = onnx_inside.graph_layers(folder / MODEL, {name: feed.shape for name, feed in feeds.items()})
        return layer_times(graph, _kernels(folder, threads, feeds, WARMUPS + runs))

    def inner(self, folder: Path) -> tuple[Inner, ...]:
        """The tensors of the graph."""
        return onnx_inside.inner_tensors(folder / MODEL)

    def watch(self, folder: Path, threads: int) -> Watch:
        """Parts of the graph that end in the tensors; integer kernels give way to float on the same rounded values."""
        import onnx

        from visiondeploy.calibration.probe import Probe

        return partial(Probe, onnx.load(folder / MODEL), threads=threads)


def _kernels(folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[Kernel, ...]:
    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as temporary:
        return kernels(inference_session(folder / MODEL, threads, profile=Path(temporary) / "profile"), feeds, runs)


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
