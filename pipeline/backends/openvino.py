"""Backend `openvino`: OpenVINO's CPU plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.onnx_file import io_names, stored_types
from visiondeploy.pipeline.backends.openvino_session import OpenVinoSession, compiled, read, reason
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session

MODEL = "model.xml"
ONNX = "model.onnx"
DESCRIPTION = "engine.json"
LAYERS = frozenset({"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"})
COMPUTE = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}


class OpenVinoBackend(HostBackend):
    """OpenVINO on the CPU. The engine is its IR (xml and bin), which holds for any CPU; it is compiled when loaded.

    OpenVINO's own cache of compiled blobs is never used: 2026.4 served wrong numbers from damaged ones.
    """

    name = "openvino"
    source: Source = "onnx"
    precisions = frozenset(Precision)
    scheme = "cpu"
    packages = ("openvino",)

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
        description = _description(folder)
        return OpenVinoSession(read(folder / MODEL), threads, description["inputs"], description["outputs"])

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The layers of OpenVINO's execution graph for these feeds with the precision that it names for each."""
        layers = []
        shapes = {name: feed.shape for name, feed in feeds.items()}
        for node in compiled(read(folder / MODEL), threads, shapes).get_runtime_model().get_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
            if kind in LAYERS:
                precision = str(info["runtimePrecision"].astype(str))
                layers.append(Layer(node.get_friendly_name(), kind, COMPUTE.get(precision, precision), "cpu"))
        return Realised(tuple(layers), _description(folder)["stored"])


def _description(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / DESCRIPTION} cannot be read ({error}): build the engine anew.") from None
    return found
