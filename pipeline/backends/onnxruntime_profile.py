"""What ONNX Runtime's profile says of the kernels that it executed, and the time of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visiondeploy.pipeline.backends.inside import WARMUPS, LayerDetail, LayerTime
from visiondeploy.pipeline.backends.onnxruntime_inside import Nodes
from visiondeploy.types import Array, Layer

COMPUTE = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "uint8": "int8", "int8": "int8"}

MOVES = frozenset({"ReorderInput", "ReorderOutput", "Transpose", "Cast", "MemcpyFromHost", "MemcpyToHost"})
"""Kernels that ONNX Runtime puts between others, for their layouts, types and places."""

_TIMED = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a session: what it is, and the milliseconds of each run in order."""

    layer: Layer
    milliseconds: tuple[float, ...]


def kernels(session: Any, feeds: Mapping[str, Array], runs: int) -> tuple[Kernel, ...]:
    """The kernels that a session which writes a profile executes, in order. It writes none afterwards."""
    for _ in range(runs):
        session.run(None, dict(feeds))
    profile = Path(session.end_profiling())
    layers: dict[tuple[str, str], Layer] = {}
    times: dict[tuple[str, str], list[float]] = {}
    for event in json.loads(profile.read_text(encoding="utf-8")):
        if event.get("cat") != "Node" or not event["name"].endswith(_TIMED):
            continue
        arguments = event["args"]
        name = event["name"].removesuffix(_TIMED)
        # Names alone are not unique: a graph need not have any.
        key = (name, arguments.get("node_index", ""))
        if key not in layers:
            read = next((kind for one in arguments["input_type_shape"] for kind in one), "")
            provider = arguments["provider"].removesuffix("ExecutionProvider").lower()
            layers[key] = Layer(name, arguments["op_name"], COMPUTE.get(read, read), provider)
        times.setdefault(key, []).append(event["dur"] / 1000)
    return tuple(Kernel(layer, tuple(times[key])) for key, layer in layers.items())


def layer_times(graph: Sequence[LayerDetail], executed: Sequence[Kernel]) -> tuple[LayerTime, ...]:
    """Kernels under the names of the nodes of `graph` that they compute, over the runs after the warm-up."""
    nodes = Nodes(graph)
    found = []
    for kernel in executed:
        node, layer = nodes.computed_by(kernel.layer), kernel.layer
        name = layer.name if node is None else node.name
        inserted = layer.kind in MOVES and (node is None or node.kind != layer.kind)
        if inserted:
            name = layer.name
        milliseconds = float(np.median(kernel.milliseconds[WARMUPS:]))
        found.append(LayerTime(name, layer.kind, layer.compute, milliseconds, inserted))
    return tuple(found)
