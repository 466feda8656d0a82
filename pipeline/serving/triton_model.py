"""Triton's backends `onnxruntime` and `openvino` in Python, for a Triton that was built without them.

Copied as `backends/onnxruntime/model.py` and `backends/openvino/model.py`, it serves repositories that were written for
the production backends: it reads their `default_model_filename` and their parameters. It uses nothing of
ours, so that what it serves is what the repository alone says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton


class OnnxRuntime:
    """An ONNX file on the CPU provider."""

    file = "model.onnx"

    def __init__(self, path: Path, parameters: dict[str, str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", "0"))
        options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "0"))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name for value in self._session.get_inputs()}
        self.outputs = {value.name for value in self._session.get_outputs()}

    def run(self, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
        """The outputs, in the order of their names."""
        found: list[Any] = self._session.run(outputs, feeds)
        return found


class OpenVino:
    """An OpenVINO model, compiled for each shape of its feeds that comes. `parameters` are OpenVINO's own settings."""

    file = "model.xml"

    def __init__(self, path: Path, parameters: dict[str, str]) -> None:
        import openvino

        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        # The default hint may be bfloat16.
        self._settings = {"INFERENCE_PRECISION_HINT": "f32"} | parameters
        self._core.compile_model(self._model, "CPU", self._settings)
        self._requests: dict[tuple[Any, ...], Any] = {}
        self.inputs = {name for port in self._model.inputs for name in port.get_names()}
        self.outputs = {name for port in self._model.outputs for name in port.get_names()}

    def run(self, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
        """The outputs, in the order of their names."""
        shapes = tuple(array.shape for array in feeds.values())
        if shapes not in self._requests:
            model = self._model.clone()
            model.reshape({name: list(array.shape) for name, array in feeds.items()})
            self._requests[shapes] = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        request = self._requests[shapes]
        request.infer(feeds)
        return [request.get_tensor(name).data.copy() for name in outputs]


RUNTIMES: dict[str, type[OnnxRuntime | OpenVino]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


class TritonPythonModel:
    """What Triton's Python backend calls: once `initialize`, then `execute` for each batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the file of this version. Raises where it does not load or has other inputs or outputs."""
        config = json.loads(args["model_config"])
        kind = RUNTIMES[config["backend"]]
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self._runtime = kind(folder / (config.get("default_model_filename") or kind.file), parameters)
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        if unknown := {*self._inputs} - self._runtime.inputs | {*self._outputs} - self._runtime.outputs:
            raise triton.TritonModelException(f"the model has no input or output {', '.join(sorted(unknown))}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests of a batch at once."""
        taken = {
            name: [triton.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self._inputs
        }
        ends = np.cumsum([len(array) for array in taken[self._inputs[0]]])[:-1]
        found = self._runtime.run({name: np.concatenate(arrays) for name, arrays in taken.items()}, self._outputs)
        parts = zip(*(np.split(output, ends) for output in found), strict=True)
        return [
            triton.InferenceResponse([triton.Tensor(*named) for named in zip(self._outputs, arrays, strict=True)])
            for arrays in parts
        ]
