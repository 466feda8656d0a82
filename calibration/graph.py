"""An ONNX graph: who makes a tensor and who reads it, and the graph written anew with other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.types import Array

CONVOLUTIONS = ("Conv", "ConvTranspose")


class GraphIndex:
    """Lookups by tensor name. Valid as long as the graph is not changed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info)}
        self.outputs = {value.name for value in graph.output}
        self._maker = {name: node for node in graph.node for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                if name:
                    self._readers.setdefault(name, []).append(node)

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for graph inputs and initializers."""
        return self._maker.get(tensor)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, once for each time they do."""
        return self._readers.get(tensor, [])

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The node that reads a tensor where it is the only one and the tensor is no output of the graph."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def constant(self, tensor: str) -> Array | None:
        """The value of an initializer; None for what is computed."""
        found = self.initializers.get(tensor)
        return None if found is None else np.asarray(numpy_helper.to_array(found))

    def extents(self, tensor: str) -> tuple[int, ...]:
        """The size of each axis of an initializer; none for what is computed."""
        found = self.initializers.get(tensor)
        return () if found is None else tuple(found.dims)

    def shape(self, tensor: str) -> tuple[int | None, ...] | None:
        """The size of each axis of a tensor, None for a free one; None where the graph does not say its axes."""
        found = self._shapes.get(tensor)
        if found is None or not found.HasField("shape"):
            return None
        return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in found.shape.dim)

    def rank(self, tensor: str) -> int | None:
        """The number of axes of a tensor, where the graph says it."""
        found = self.shape(tensor)
        return None if found is None else len(found)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that a node has, by name; text is bytes."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of its own, in as much memory as it needs: a message keeps that of all that was ever taken out of it."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def rebuild(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], constants: Mapping[str, Array]) -> None:
    """Give a graph other nodes, in topological order, and more constants; what nobody reads or makes then goes."""
    # Copies first: the nodes may well be those of the graph, which go when it is emptied.
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    read = {name for node in graph.node for name in node.input}
    made = {name for node in graph.node for name in node.output}
    kept = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    shapes = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in graph.value_info if v.name in made]
    del graph.value_info[:]
    graph.value_info.extend(shapes)
