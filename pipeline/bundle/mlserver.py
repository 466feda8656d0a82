"""`model-settings.json` for MLServer (KServe's V2 protocol), which loads the bundle with a runtime of our own."""

from __future__ import annotations

import json
from typing import Any

from visiondeploy.pipeline.bundle.manifest import Contract, Tensor

FOLDER = "mlserver"
SETTINGS = "model-settings.json"

RUNTIME = "visiondeploy.pipeline.serving.mlserver.BundleRuntime"
"""The class that MLServer imports."""

TYPES = {
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
}


def settings_of(name: str, version: int, contract: Contract) -> str:
    """The text of `model-settings.json`: JSON with a final newline. The bundle is the folder above."""
    content = {
        "name": name,
        "implementation": RUNTIME,
        "parameters": {"uri": "..", "version": str(version)},
        "inputs": [_described(tensor) for tensor in contract.inputs],
        "outputs": [_described(tensor) for tensor in contract.outputs],
    }
    return json.dumps(content, indent=2) + "\n"


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": TYPES[tensor.dtype], "shape": list(tensor.shape)}
