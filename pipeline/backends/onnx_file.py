"""What an ONNX file says of itself: names of inputs and outputs, and the types that weights are kept in."""

from __future__ import annotations

from pathlib import Path

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
NAMES = {1: "fp32", 10: "fp16", 16: "bf16", 3: "int8", 2: "int8"}


def io_names(path: Path) -> tuple[list[str], list[str]]:
    """The names of the graph's inputs and outputs, in order."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


def stored_types(path: Path) -> dict[str, int]:
    """Layers counted by the type of their weight: that of the initializer, seen through DequantizeLinear and Cast."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    through = {node.output[0]: node.input[0] for node in graph.node if node.op_type in {"DequantizeLinear", "Cast"}}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in LAYERS:
            continue
        weight = node.input[1]
        while weight in through:
            weight = through[weight]
        if weight in types:
            name = NAMES.get(types[weight], f"onnx type {types[weight]}")
            found[name] = found.get(name, 0) + 1
    return found
