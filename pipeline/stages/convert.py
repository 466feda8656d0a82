"""Stage `convert`: an fp32 ONNX graph to one whose weights and arithmetic are float16.

Normalisations, softmax and reductions over space stay in float32: their sums pass float16's 65504 or
lose the small terms (instance norm of style networks: onnxruntime#10079). Where a norm is written out, the squares
that are summed and the roots that are taken do, too. So do layers whose values pass it on calibration images, by
name. Inputs and outputs stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Task

if TYPE_CHECKING:
    import onnx

# 1: onnxruntime.transformers.float16 with norms, softmax and reductions blocked
# 2: layers whose values pass 65504 on calibration images stay in fp32
# 3: so does what makes the terms of a sum, and what is made of sums alone
VERSION = 3
TOOLS = ("onnx", "onnxruntime", "pillow")

KEPT_IN_FP32 = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "ReduceMean",
    "ReduceSum",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "Softmax",
    "LogSoftmax",
)

BY_ELEMENT = ("Abs", "Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub")
"""What norms that are written out consist of, beside their sums."""

LARGEST = 65504.0
"""The largest number of float16."""


def convert(source: Path, task: Task, images: Feeds, samples: Feeds, threads: int, folder: Path) -> dict[str, Any]:
    """Write `model.onnx` in float16; return its parity with the fp32 graph and what was kept in fp32.

    `beyond_fp16` maps the layers that read or make values on `images` which float16 does not hold, and
    stay in fp32 for that, to the largest of those values. Raises `InputError` where a value is not finite in fp32.
    """
    import onnx

    from visiondeploy.calibration.extremes import largest_values, largest_weights
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    fp32 = onnx.load(source / "model.onnx")
    _name_nodes(fp32.graph)
    values = {**largest_weights(fp32), **largest_values(fp32, images, threads)}
    beyond = _beyond(fp32.graph, {name: value for name, value in values.items() if value > LARGEST})
    model = in_half(fp32, list(beyond))
    onnx.checker.check_model(model)
    save_onnx(model, folder / "model.onnx")
    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference, backend.load(folder, threads) as candidate:
        found = parity(reference, candidate, task, samples)
    kept = sorted({node.op_type for node in model.graph.node} & set(KEPT_IN_FP32))
    return {
        "parity": {"onnx": as_row(found)},
        "kept_in_fp32": kept,
        "beyond_fp16": beyond,
        "largest_value": max(values.values(), default=0.0),
        "images": len(images),
    }


def in_half(fp32: onnx.ModelProto, beyond: Sequence[str] = ()) -> onnx.ModelProto:
    """The graph in float16, whose nodes have names; those of `beyond` stay in fp32. `fp32` is used up."""
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    around = around_sums(fp32.graph)
    model = float16.convert_float_to_float16(
        fp32,
        keep_io_types=True,
        # The source's inferred shapes are of the fp32 graph; the converter infers anew.
        disable_shape_infer=False,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FP32],
        node_block_list=[*beyond, *around],
    )
    _join_fp32(model.graph)
    # The converter puts its casts at the end of the list of nodes.
    sorted_model = OnnxModel(model)
    sorted_model.topological_sort()
    made: onnx.ModelProto = sorted_model.model
    return made


def around_sums(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The nodes, by name, that make terms for sums in fp32 and for nobody else, or that compute of such sums alone.

    x² of a deviation passes 65504 from 256 on, and is lost below 0.0002, and so is the ε that is added to its mean.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    given = {value.name for value in graph.output}
    constants = {tensor.name for tensor in graph.initializer}
    kept: set[str] = set()
    terms: set[str] = set()
    for node in reversed(graph.node):
        read = [reader for name in node.output for reader in readers.get(name, [])]
        wide = all(_sums(reader) or reader.name in terms for reader in read)
        if node.op_type in BY_ELEMENT and read and wide and not given.intersection(node.output):
            terms.add(node.name)
    made: set[str] = set()
    for node in graph.node:
        operands = [name for name in node.input if name and name not in constants]
        if _sums(node):
            made.update(node.output)
        elif node.op_type in BY_ELEMENT and operands and made.issuperset(operands):
            made.update(node.output)
            kept.add(node.name)
    return tuple(node.name for node in graph.node if node.name in terms or node.name in kept)


def _sums(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Reduce") and node.op_type in KEPT_IN_FP32


def _name_nodes(graph: onnx.GraphProto) -> None:
    """A name of its own for every node: the converter knows them by it."""
    from visiondeploy.calibration.placement import node_names

    for node, name in zip(graph.node, node_names(graph), strict=True):
        node.name = name


def _join_fp32(graph: onnx.GraphProto) -> None:
    """Hand what one fp32 node makes to the next one as it is: the converter casts it to float16 and back."""
    import onnx

    narrowed = {node.output[0]: node.input[0] for node in graph.node if _casts(node, onnx.TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts(node, onnx.TensorProto.FLOAT) and node.input[0] in narrowed:
            node.input[0] = narrowed[node.input[0]]
    needed = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in needed]:
        graph.node.remove(node)


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    """Whether a node is a cast to a type."""
    return node.op_type == "Cast" and node.attribute[0].i == kind


def _beyond(graph: onnx.GraphProto, tensors: Mapping[str, float]) -> dict[str, float]:
    """The nodes that read or make one of the tensors, with the largest value; not those that stay in fp32 anyway."""
    found = {}
    around = around_sums(graph)
    for node in graph.node:
        touched = [tensors[name] for name in (*node.input, *node.output) if name in tensors]
        if touched and node.op_type not in KEPT_IN_FP32 and node.name not in around:
            found[node.name] = max(touched)
    return found
