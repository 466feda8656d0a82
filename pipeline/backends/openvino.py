"""Backend `openvino`: OpenVINO's CPU plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from visiondeploy.calibration.watching import Watch, Watched
from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends import openvino_inside
from visiondeploy.pipeline.backends.base import Source, not_installed
from visiondeploy.pipeline.backends.inside import Inner, LayerDetail, Shapes
from visiondeploy.pipeline.backends.onnx_file import io_names, stored_types
from visiondeploy.pipeline.backends.openvino_inside import COMPUTE, PRODUCTS
from visiondeploy.types import Array, Layer, Precision, Realised, Session, TensorSpec

MODEL = "model.xml"
ONNX = "model.onnx"
DESCRIPTION = "engine.json"


class OpenVinoBackend:
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

    def compile(self, source: Path, folder: Path) -> None:
        """Convert the ONNX file; the types in the graph stay as they are."""
        import openvino as ov

        try:
            model = ov.Core().read_model(source / ONNX)
        except RuntimeError as error:
            raise InputError(f"OpenVINO does not read {ONNX}: {_reason(error)}") from None
        ov.save_model(model, folder / MODEL, compress_to_fp16=False)
        # OpenVINO merges names where it merges nodes; the graph's own names are what callers know.
        names = io_names(source / ONNX)
        description = {"inputs": names[0], "outputs": names[1], "stored": stored_types(source / ONNX)}
        (folder / DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")

    def load(self, folder: Path, threads: int) -> Session:
        """A compiled model with one stream, for latency."""
        description = _description(folder)
        return OpenVinoSession(_compiled(folder / MODEL, threads), description["inputs"], description["outputs"])

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The layers of OpenVINO's execution graph with the precision that it names for each."""
        layers = []
        for node in _compiled(folder / MODEL, threads).get_runtime_model().get_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
            if kind in PRODUCTS:
                precision = str(info["runtimePrecision"].astype(str))
                layers.append(Layer(node.get_friendly_name(), kind, COMPUTE.get(precision, precision), "cpu"))
        return Realised(tuple(layers), _description(folder)["stored"])

    def layers(self, folder: Path, threads: int, shapes: Shapes, recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
        """The execution graph's layers, as this machine runs them."""
        return openvino_inside.execution_layers(_compiled(folder / MODEL, threads).get_runtime_model())

    def inner(self, folder: Path) -> tuple[Inner, ...]:
        """The tensors of the IR, which keep the names that they have in the ONNX file."""
        return openvino_inside.inner_tensors(_read(folder / MODEL))

    def watch(self, folder: Path, threads: int) -> Watch:
        """A model for each tensor, with that as one more output.

        What is an output is not fused away, and 2026.4 computes rightly behind a concat that is one. Beside others a
        tensor would therefore be of another model than the engine's.
        """
        original, inputs = _read(folder / MODEL), _description(folder)["inputs"]

        def watched(tensors: Sequence[str]) -> Watched:
            sessions = {}
            for tensor in tensors:
                model = original.clone()
                model.add_outputs(tensor)
                sessions[tensor] = OpenVinoSession(_compiled(model, threads), inputs, [tensor])
            return lambda feeds: {tensor: session.infer(feeds)[tensor] for tensor, session in sessions.items()}

        return watched


def _description(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / DESCRIPTION} cannot be read ({error}): build the engine anew.") from None
    return found


def _read(path: Path) -> Any:
    import openvino as ov

    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise InputError(f"OpenVINO does not load {path.name}: {_reason(error)}") from None


def _compiled(model: Any, threads: int) -> Any:
    """A model, or the file of one, compiled for latency. Raises `InputError`."""
    import openvino as ov

    settings = {
        # The default hint may be bfloat16: then an fp32 engine would not compute in fp32.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    try:
        return ov.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise InputError(f"OpenVINO does not load {MODEL}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The last line that says something: OpenVINO puts its own source positions first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OpenVinoSession:
    """A compiled model as a session."""

    def __init__(self, compiled: Any, inputs: list[str], outputs: list[str]) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = {name: _port(compiled.inputs, name) for name in inputs}
        self._outputs = {name: _port(compiled.outputs, name) for name in outputs}
        self.inputs = tuple(_tensor(name, port) for name, port in self._inputs.items())
        self.outputs = tuple(_tensor(name, port) for name, port in self._outputs.items())

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. The inputs are read in place, the outputs copied out."""
        named = {self._inputs[name]: feed for name, feed in feeds.items()}
        found = self._request.infer(named, share_inputs=True, share_outputs=False)
        return {name: found[port] for name, port in self._outputs.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._request = None
        self._inputs, self._outputs = {}, {}


def _port(ports: Any, name: str) -> Any:
    """The input or output that carries a name of the graph. Raises `InputError`."""
    for port in ports:
        if name in port.get_names():
            return port
    raise InputError(f"the engine has no input or output '{name}': build it anew.")


def _tensor(name: str, port: Any) -> TensorSpec:
    shape = tuple(
        axis.get_length() if axis.is_static else f"axis{number}" for number, axis in enumerate(port.get_partial_shape())
    )
    return TensorSpec(name, str(port.get_element_type().to_dtype()), shape)
