"""Backend `onnxruntime`: ONNX Runtime on its CPU provider."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from visiondeploy.calibration.watching import Watch
from visiondeploy.pipeline.backends import onnx_inside
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.inside import WARMUPS, Inner, LayerDetail, LayerTime, Shapes
from visiondeploy.pipeline.backends.onnx_file import stored_types
from visiondeploy.pipeline.backends.onnxruntime_inside import WORK, with_kernels
from visiondeploy.pipeline.backends.onnxruntime_profile import Kernel, kernels, layer_times
from visiondeploy.pipeline.backends.onnxruntime_session import MODEL, inference_session, opened
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session

WEIGHTS = "model.data"
"""Where `save_onnx` puts the weights of a graph over 2 GB, which protobuf does not hold."""


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
        return opened(folder, threads)

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
