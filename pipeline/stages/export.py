"""Stage `export`: a network to ONNX and TorchScript, both checked against PyTorch on real samples."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import InputError
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from visiondeploy.pipeline.recipe import ExportSettings
    from visiondeploy.types import Task

# 1: dynamo exporter, onnxscript optimiser
# 2: layers have the names of their modules
# 3: kernels without what only meets padding
VERSION = 3
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "pillow")

MAX_BATCH = 4096


def export(checkpoint: Path, samples: Feeds, settings: ExportSettings, threads: int, folder: Path) -> dict[str, Any]:
    """Write `model.onnx`, `model.pt` and `signature.json`; return what was found of both, with their parity.

    Raises `InputError` where the network cannot be exported, with the exporter's own reason.
    """
    from visiondeploy.models.checkpoint import load_network
    from visiondeploy.models.tasks.table import task_of
    from visiondeploy.pipeline.backends.table import BACKENDS

    network = load_network(checkpoint)
    task = task_of(network.spec)
    model = to_onnx(network.module, task, settings)
    save_onnx(model, folder / "model.onnx")
    how = to_torchscript(network.module, task, folder / "model.pt")
    with BACKENDS["pytorch"].load(checkpoint, threads) as reference:
        signature = {
            "inputs": [{"name": s.name, "dtype": s.dtype, "shape": s.shape} for s in reference.inputs],
            "outputs": [{"name": s.name, "dtype": s.dtype, "shape": s.shape} for s in reference.outputs],
        }
        (folder / "signature.json").write_text(json.dumps(signature, indent=1) + "\n", encoding="utf-8")
        found = {}
        for kind, backend in (("onnx", "onnxruntime"), ("torchscript", "torchscript")):
            with BACKENDS[backend].load(folder, threads) as candidate:
                found[kind] = as_row(parity(reference, candidate, task, samples))
    return {
        "parity": found,
        "torchscript": how,
        "opset": next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
        "nodes": len(model.graph.node),
        "parameters": sum(parameter.numel() for parameter in network.module.parameters()),
    }


def to_onnx(module: nn.Module, task: Task, settings: ExportSettings) -> onnx.ModelProto:
    """The network as ONNX: the batch is free, height and width are too if `settings.dynamic_size`.

    Batch norm is folded, constants are folded, dead nodes are dropped, shapes are inferred, kernels lose what only
    meets padding, and the result is checked by onnx itself.
    """
    import onnx
    import torch

    from visiondeploy.calibration.kernels import crop_kernels

    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    size: dict[int, Any] = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if settings.dynamic_size else {}
    examples = _examples(task, batch=2)
    with quiet():
        try:
            program = torch.onnx.export(
                module.eval(),
                examples,
                dynamo=True,
                input_names=list(task.inputs),
                output_names=list(task.outputs),
                dynamic_shapes=tuple({0: batch, **(size if example.ndim == 4 else {})} for example in examples),
                opset_version=settings.opset,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(f"the network cannot be exported to ONNX: {reason}") from error
    if program is None:
        raise InputError("the network cannot be exported to ONNX: the exporter returned nothing")
    model: onnx.ModelProto = program.model_proto
    model = onnx.shape_inference.infer_shapes(_plain(model), check_type=True, strict_mode=True, data_prop=True)
    model = crop_kernels(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """With names for people, and without what differs from run to run or names this machine: stack traces and docs."""
    taken = {node.name for node in model.graph.node}
    weights = [tensor.name for tensor in model.graph.initializer if tensor.name.endswith(".weight")]
    for node in model.graph.node:
        # A layer is named after its module, which is what people know: "encoder.0.3", not "node_Conv_275".
        owner = next((name.removesuffix(".weight") for name in node.input if name in weights), None)
        if owner is not None and owner not in taken:
            node.name = owner
            taken.add(owner)
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
    del model.functions[:]
    return model


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write a model to a file of its own; weights go to a file beside it where the whole passes protobuf's 2 GB."""
    import onnx

    large = model.ByteSize() > 2**31 - 2**20
    onnx.save_model(model, path, save_as_external_data=large, location=f"{path.stem}.data")


def _examples(task: Task, batch: int) -> tuple[Tensor, ...]:
    """Zeros for each input of the network."""
    import torch

    shapes = ((batch if axis == "batch" else int(axis) for axis in spec.shape) for spec in task.input_specs)
    return tuple(torch.zeros(*shape) for shape in shapes)


def to_torchscript(module: nn.Module, task: Task, path: Path) -> str:
    """Write the network as TorchScript; returns "script", or "trace" where its Python cannot be compiled.

    A traced file has the sizes of its example baked in wherever the network computes with them.
    """
    import torch

    with quiet(), torch.inference_mode():
        try:
            scripted: Any = torch.jit.script(module.eval())
            how = "script"
        except Exception:  # the compiler raises what it likes for Python it does not know
            scripted = torch.jit.trace(module.eval(), _examples(task, batch=1), check_trace=False)  # type: ignore[no-untyped-call]
            how = "trace"
        scripted.save(str(path))
    return how


@contextlib.contextmanager
def quiet() -> Any:
    """The exporters talk to stdout and through warnings; stdout is for data, and TorchScript's age is known."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
