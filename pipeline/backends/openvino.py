"""Backend `openvino`: OpenVINO's CPU plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from visiondeploy.calibration.watching import Watch, Watched
from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends import openvino_inside, openvino_profile
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.inside import Inner, LayerDetail, LayerTime, Shapes
from visiondeploy.pipeline.backends.onnx_file import io_names, stored_types
from visiondeploy.pipeline.backends.openvino_inside import COMPUTE, PRODUCTS
from visiondeploy.pipeline.backends.openvino_session import (
    DESCRIPTION,
    MODEL,
    OpenVinoSession,
    compiled,
    described,
    opened,
    read,
    reason,
)
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session

ONNX = "model.onnx"


class OpenVinoBackend(HostBackend):
    """OpenVINO on the CPU. The engine is its IR (xml and bin), which holds for any CPU; it is compiled when loaded.

    OpenVINO's own cache of compiled blobs is never used: 2026.4 served wrong numbers from damaged ones.
    """

    name = "openvino"
    source: Source = "onnx"
    precisions = frozenset({Precision.FP32, Precision.FP16, Precision.INT8})
    scheme = "cpu"
    packages = ("openvino",)
    single_layers = True

    def unavailable(self) -> str | None:
        """None where openvino is installed."""
        return not_installed("openvino")

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """Convert the ONNX file; the types in the graph stay as they are."""
        import openvino as ov

        try:
            model = ov.Core().read_model(source / ONNX)
        except RuntimeError as error:
            raise InputError(f"OpenVINO does not read {ONNX}: {reason(error)}") from None
        ov.save_model(model, folder / MODEL, compress_to_fp16=False)
        # OpenVINO merges names where it merges nodes; the graph's own names are what callers know.
        names = io_names(source / ONNX)
        description = {"inputs": names[0], "outputs": names[1], "stored": stored_types(source / ONNX)}
        (folder / DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")

    def load(self, folder: Path, threads: int) -> Session:
        """A session with one stream, for latency. It is compiled for batches of one, and for what it is fed."""
        return opened(folder, threads)

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The layers of OpenVINO's execution graph for these feeds with the precision that it names for each."""
        layers = []
        shapes = {name: feed.shape for name, feed in feeds.items()}
        for node in compiled(read(folder / MODEL), threads, shapes).get_runtime_model().get_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
            if kind in PRODUCTS:
                precision = str(info["runtimePrecision"].astype(str))
                layers.append(Layer(node.get_friendly_name(), kind, COMPUTE.get(precision, precision), "cpu"))
        return Realised(tuple(layers), described(folder)["stored"])

    def layers(self, folder: Path, threads: int, shapes: Shapes, recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
        """The layers of the execution graph for one image, as this machine runs them."""
        return openvino_inside.execution_layers(compiled(read(folder / MODEL), threads, shapes).get_runtime_model())

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """The layers of the execution graph for these feeds, whose times have a resolution of a microsecond."""
        shapes = {name: feed.shape for name, feed in feeds.items()}
        model = compiled(read(folder / MODEL), threads, shapes, profiled=True)
        return openvino_profile.layer_times(model, feeds, runs)

    def inner(self, folder: Path) -> tuple[Inner, ...]:
        """The tensors of the IR, which keep the names that they have in the ONNX file."""
        return openvino_inside.inner_tensors(read(folder / MODEL))

    def watch(self, folder: Path, threads: int) -> Watch:
        """A model for each tensor, with that as one more output.

        What is an output is not fused away, and 2026.4 computes rightly behind a concat that is one. Beside others a
        tensor would therefore be of another model than the engine's.
        """
        original, inputs = read(folder / MODEL), described(folder)["inputs"]

        def watched(tensors: Sequence[str]) -> Watched:
            sessions = {}
            for tensor in tensors:
                model = original.clone()
                model.add_outputs(tensor)
                sessions[tensor] = OpenVinoSession(model, threads, inputs, [tensor])
            return lambda feeds: {tensor: session.infer(feeds)[tensor] for tensor, session in sessions.items()}

        return watched
