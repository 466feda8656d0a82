"""Stage `prepare`: an ONNX file of somebody else, in the form in which other precisions are made of a graph.

Exporters leave constants in nodes, shapes that are computed and batch norm beside its convolution. Folded, they are
what this project's own export gives. The file itself is not touched: engines in its own precision are made of that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import InputError
from visiondeploy.pipeline.stages.parity import Feeds
from visiondeploy.types import Task

if TYPE_CHECKING:
    import onnx

# 1: onnxscript's optimiser; opset 13 at least
VERSION = 1
TOOLS = ("onnx", "onnxscript", "onnxruntime", "pillow")

PREPARED = "onnx-fp32-prepared"
"""Where in a build's folder the graph lies."""

OLDEST = 13
"""The first opset whose Q/DQ has a scale for each channel."""


def prepare(source: Path, name: str, task: Task, samples: Feeds, threads: int, folder: Path) -> dict[str, Any]:
    """Write `model.onnx`; return its parity with the file. Raises `InputError` where it cannot be made; `name` is its
    own."""
    import onnx

    from visiondeploy.pipeline.stages.export import save_onnx
    from visiondeploy.pipeline.stages.quantise import parity_with

    model = folded(onnx.load(source / "model.onnx"), name)
    save_onnx(model, folder / "model.onnx")
    return {
        "parity": {"onnx": parity_with(source, folder, task, samples, threads)},
        "nodes": len(model.graph.node),
    }


def folded(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with its constants folded into initializers, shapes inferred, in opset 13 or newer."""
    import onnx
    from onnxscript import optimizer

    from visiondeploy.pipeline.stages.export import quiet

    opset = max((used.version for used in model.opset_import if used.domain in {"", "ai.onnx"}), default=1)
    try:
        with quiet():
            if opset < OLDEST:
                model = onnx.version_converter.convert_version(model, OLDEST)
            # Once makes initializers of constants, which it has to find there to fold a batch norm into them.
            made: onnx.ModelProto = optimizer.optimize(optimizer.optimize(model))
            made = onnx.shape_inference.infer_shapes(made, data_prop=True)
        onnx.checker.check_model(made)
    except Exception as error:  # whatever the converter and the optimiser raise for a graph that they do not know
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{name} cannot be brought into another precision ({reason}): leave --precision away."
        ) from None
    return made
