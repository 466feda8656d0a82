"""Stage `wrap`: a network, in any of its forms, to the graph that serving wants: raw images in, what is wanted out.

    image N×H×W×3 uint8 ─► N×3×H×W ─► float32 ─► / 255 ─► − mean ─► / std ─► the network ─► ending

The operations in front are those of `Task.preprocess`, one for one, so that the network sees the same bits as before
and not one class changes. One multiplication and one addition would do, and round differently, which moves a pixel
into the next int8 code now and then; at 512×512 they save nothing that can be measured in OpenVINO (49.6 and 49.4 ms
of one thread for an int8 network of six convolutions) and 1 of 65 ms in ONNX Runtime. Transposing bytes before they
are floats costs the least in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import Source
from visiondeploy.pipeline.stages.parity import Feeds, as_row, served_parity
from visiondeploy.types import Ending, Task

if TYPE_CHECKING:
    import onnx

# 1: uint8 RGB in, class map out
# 2: pixels become floats before they are moved
VERSION = 2
TOOLS = ("onnx", "onnxruntime", "torch", "pillow")

PREFIX = "served/"
"""Of the names of all that is added to a graph."""

FLATTENED_BELOW = 16
"""Classes. OpenVINO keeps so few logits in rows and columns, and finds the largest faster where these are one axis."""

Axis = int | str


def wrap(
    source: Path, kind: Source, spec: NetworkSpec, samples: Feeds, raw: Feeds, threads: int, folder: Path
) -> dict[str, Any]:
    """Write the artifact in `source`, of that kind, with the inputs and outputs of `spec.io`; return the parity.

    `samples` and `raw` are the same images as feeds before and after. Both are run by the runtime that runs this
    kind as it is, so that what differs is what was added. Raises `InputError` where that is impossible.
    """
    from visiondeploy.pipeline.backends.table import BACKENDS, REFERENCES

    task = task_of(spec)
    _WRAPPERS[kind](source, task, spec, folder)
    backend = BACKENDS[REFERENCES[kind]]
    with backend.load(source, threads) as bare, backend.load(folder, threads) as served:
        found = served_parity(bare, served, task, samples, raw)
    return {"parity": {kind: as_row(found)}}


def _wrap_network(source: Path, task: Task, spec: NetworkSpec, folder: Path) -> None:
    """The same weights; the description names other inputs and outputs."""
    from visiondeploy.models.checkpoint import Network, load_network, save_network

    network = load_network(source)
    save_network(Network(network.module, network.spec.model_copy(update={"io": spec.io})), folder)


def _wrap_torchscript(source: Path, task: Task, spec: NetworkSpec, folder: Path) -> None:
    """A module around the module."""
    import torch

    from visiondeploy.models.served import Served
    from visiondeploy.pipeline.stages.export import quiet

    with quiet(), torch.inference_mode():
        bare = torch.jit.load(str(source / "model.pt"), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        scripted: Any = torch.jit.script(Served(bare, spec.input, _ending(task)).eval())
        scripted.save(str(folder / "model.pt"))
    signature = {
        "inputs": [asdict(tensor) for tensor in task.input_specs],
        "outputs": [asdict(tensor) for tensor in task.output_specs],
    }
    (folder / "signature.json").write_text(json.dumps(signature, indent=1) + "\n", encoding="utf-8")


def _wrap_onnx(source: Path, task: Task, spec: NetworkSpec, folder: Path) -> None:
    """Nodes around the nodes."""
    import onnx

    from visiondeploy.pipeline.stages.export import save_onnx

    model = wrap_onnx(onnx.load(source / "model.onnx"), task, spec.input)
    onnx.checker.check_model(model)
    save_onnx(model, folder / "model.onnx")


_WRAPPERS: dict[Source, Callable[[Path, Task, NetworkSpec, Path], None]] = {
    "network": _wrap_network,
    "torchscript": _wrap_torchscript,
    "onnx": _wrap_onnx,
}


def wrap_onnx(model: onnx.ModelProto, task: Task, spec: InputSpec) -> onnx.ModelProto:
    """A copy of a graph image N×3×H×W float32 → output, with raw images in front and the task's ending behind.

    What is free in the graph, batch, height or width, stays free; names, types and Q/DQ inside stay as they are.
    Raises `InputError` for a graph of several inputs or outputs, or one that was wrapped before.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise InputError(
            f"a graph of {len(graph.input)} inputs and {len(graph.output)} outputs cannot take raw images: "
            "one of each is expected; set export.io to float32."
        )
    if any(name.startswith(PREFIX) for node in graph.node for name in node.output):
        raise InputError("the graph takes raw images already: give the one that was exported.")
    before, after = _Nodes(), _Nodes()
    (image,), (output,) = graph.input, graph.output
    batch, _, height, width = _axes(image)
    normalised = _normalise(before, image.name, spec)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == image.name:
                node.input[place] = normalised
    result = ENDINGS[_ending(task)](after, output.name, _axes(output), task.outputs[0])
    inside = list(graph.node)
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.append(
        onnx.helper.make_tensor_value_info(image.name, onnx.TensorProto.UINT8, [batch, height, width, 3])
    )
    graph.output.append(result)
    graph.node.extend([*before.nodes, *inside, *after.nodes])
    graph.initializer.extend([*before.constants, *after.constants])
    return made


class _Nodes:
    """Nodes and constants that are added to a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Append a node of one output and return the output's name."""
        import onnx

        name = f"{PREFIX}{inputs[0].removeprefix(PREFIX)}.{kind}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [out or name], name=name, **attributes))
        return out or name

    def constant(self, name: str, value: Any, dtype: type[np.generic]) -> str:
        """Add a constant and return its name."""
        import onnx

        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), PREFIX + name))
        return PREFIX + name


def _normalise(nodes: _Nodes, image: str, spec: InputSpec) -> str:
    """N×H×W×3 uint8 to N×3×H×W float32, normalised."""
    import onnx

    # Floats before they are moved, since TensorRT moves no bytes.
    pixels = nodes.op("Transpose", nodes.op("Cast", image, to=onnx.TensorProto.FLOAT), perm=[0, 3, 1, 2])
    shared = nodes.op("Div", pixels, nodes.constant("255", 255, np.float32))
    centred = nodes.op("Sub", shared, nodes.constant("mean", np.reshape(spec.mean, (1, 3, 1, 1)), np.float32))
    return nodes.op("Div", centred, nodes.constant("std", np.reshape(spec.std, (1, 3, 1, 1)), np.float32))


def _classes(nodes: _Nodes, logits: str, axes: Sequence[Axis], name: str) -> onnx.ValueInfoProto:
    """Logits N×C×H×W to the class map N×H×W uint8; of equal ones the first, as ArgMax defines it.

    Three float convolutions at 512×512 and the ending, in ms of one thread (ONNX Runtime 1.32 / OpenVINO 2026.4):

        classes                          8            11            21            59
        none: the logits        16.7 / 18.6   17.6 / 19.4   18.8 / 36.2   25.2 /  100
        ArgMax                  18.2 / 25.8   19.7 / 29.6   28.9 / 42.2   67.1 / 88.9
        ArgMax over N×C×HW      18.3 / 19.4   19.9 / 20.7   28.5 / 42.5   67.0 /  122
        N×H×W×C, then ArgMax                  18.5 / 26.6   27.9 / 38.3        / 72.9
        TopK                    21.9 / 28.0   24.5 / 29.9   39.7 / 37.9   79.2 / 56.0
        ReduceMax, Equal, …          / 26.0   22.7 / 29.3   43.2 / 30.4        / 38.2

    The first two are taken, each where it is the faster one. TopK is what OpenVINO makes of ArgMax, with other layouts,
    and costs ONNX Runtime more than it saves there. The last row is wrong where it is fast: OpenVINO takes the maximum
    of int8 codes before they are scaled, and then finds no class that is equal to it.
    """
    import onnx

    batch, classes, height, width = axes
    few, fixed = (
        isinstance(classes, int) and classes < FLATTENED_BELOW,
        isinstance(height, int) and isinstance(width, int),
    )
    source = logits
    if few and fixed:
        source = nodes.op("Reshape", logits, nodes.constant("flat", [0, classes, -1], np.int64))
    index = nodes.op("ArgMax", source, axis=1, keepdims=0)
    if few and fixed:
        index = nodes.op("Reshape", index, nodes.constant("size", [0, height, width], np.int64))
    nodes.op("Cast", index, to=onnx.TensorProto.UINT8, out=name)
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [batch, height, width])


def _pixels(nodes: _Nodes, picture: str, axes: Sequence[Axis], name: str) -> onnx.ValueInfoProto:
    """A picture N×3×H×W in 0…1 to its pixels N×H×W×3 uint8, rounded to the nearest."""
    import onnx

    batch, channels, height, width = axes
    within = nodes.op("Clip", picture, nodes.constant("0", 0, np.float32), nodes.constant("1", 1, np.float32))
    levels = nodes.op("Round", nodes.op("Mul", within, nodes.constant("levels", 255, np.float32)))
    # Floats before they become bytes, since TensorRT moves no bytes.
    nodes.op("Cast", nodes.op("Transpose", levels, perm=[0, 2, 3, 1]), to=onnx.TensorProto.UINT8, out=name)
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [batch, height, width, channels])


ENDINGS: dict[Ending, Callable[[_Nodes, str, Sequence[Axis], str], onnx.ValueInfoProto]] = {
    Ending.CLASSES: _classes,
    Ending.PIXELS: _pixels,
}


def _ending(task: Task) -> Ending:
    if task.ending is None:
        raise InputError(f"task {task.name} ends with the network itself: there is nothing to put into its graph.")
    return task.ending


def _axes(value: onnx.ValueInfoProto) -> list[Axis]:
    """The shape of an input or output; a free axis is its name."""
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
