"""The backends that exist. A new one is one file in this folder and one line here."""

from __future__ import annotations

from visiondeploy.errors import unknown_name
from visiondeploy.pipeline.backends.base import Backend, Source
from visiondeploy.pipeline.backends.onnxruntime import OnnxRuntimeBackend
from visiondeploy.pipeline.backends.openvino import OpenVinoBackend
from visiondeploy.pipeline.backends.pytorch import PyTorchBackend
from visiondeploy.pipeline.backends.torchscript import TorchScriptBackend

BACKENDS: dict[str, Backend] = {
    "pytorch": PyTorchBackend(),
    "torchscript": TorchScriptBackend(),
    "onnxruntime": OnnxRuntimeBackend(),
    "openvino": OpenVinoBackend(),
}

AUTO = ("openvino", "onnxruntime")
"""What `--backend auto` tries; the fastest that passes parity is kept."""

REFERENCES: dict[Source, str] = {"network": "pytorch", "torchscript": "torchscript", "onnx": "onnxruntime"}
"""The backend that runs an artifact of each kind as it is: what other engines of it are compared with."""


def backend_of(name: str) -> Backend:
    """The backend of that name. Raises `UsageError` for one that is not in the table."""
    if name not in BACKENDS:
        raise unknown_name("backend", name, (*BACKENDS, "auto"))
    return BACKENDS[name]
