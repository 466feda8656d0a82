"""An ONNX file that people give, read without trust: what is wrong with it is said in one sentence.

Whoever reads it later, a runtime as well, may take for granted that it is whole, that its weights are in it and are
numbers, and that its nodes follow each other.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from visiondeploy.errors import InputError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.backends.onnx_file import inputs_of

if TYPE_CHECKING:
    import onnx

LARGEST = (1 << 31) - 1
"""Bytes that protobuf holds."""


def read_given(path: Path) -> bytes:
    """The bytes of a file. Raises `InputError`, also for one that is empty or larger than protobuf holds."""
    try:
        data = read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}, expected an ONNX file: check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected an ONNX file: give one in it.") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InputError(f"{path} is larger than 2 GB, expected an ONNX file, which holds no more.") from None
        raise InputError(f"{str(path)!r} cannot be read ({error.strerror}), expected an ONNX file: check it.") from None
    if not data:
        raise InputError(f"{path} is empty, expected an ONNX file: copy or export it again.")
    return data


def parse_given(data: bytes, name: str) -> onnx.ModelProto:
    """The model of a file's bytes; `name` is what people call it. Raises `InputError`."""
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf's, which onnx has no name for
        raise InputError(f"{name} is not a whole ONNX file, cut off or of another kind: export it again.") from None
    if not model.graph.node:
        raise InputError(f"{name} has no graph, expected an ONNX file: check that it is one.")
    _check_opset(model, name)
    _check_weights(model, name)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"{name} is not valid ONNX ({reason}): export it again.") from None
    _check_sizes(model.graph, name)
    return model


def _check_opset(model: onnx.ModelProto, name: str) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    for used in model.opset_import:
        if used.domain in {"", "ai.onnx"} and used.version > newest:
            raise InputError(f"{name} has opset {used.version}, this onnx knows {newest} and older: export with one.")


def _check_weights(model: onnx.ModelProto, name: str) -> None:
    """Raise `InputError` for weights in other files, two of one name, and such as are not numbers."""
    import numpy as np
    import onnx

    known: set[str] = set()
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            # A path may lead anywhere, and what lies there is not what the digest is of.
            raise InputError(
                f"{name} keeps weights in another file ('{tensor.name}'), expected one file with all of them: save it "
                "with onnx.save(onnx.load(FILE), NEW)."
            )
        if tensor.data_type in {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}:
            try:
                broken = bool(np.isnan(onnx.numpy_helper.to_array(tensor)).any())
            except (ValueError, TypeError) as error:
                raise InputError(f"{name}: weight '{tensor.name}' is damaged ({error}): export it again.") from None
            if broken:
                raise InputError(f"{name}: weight '{tensor.name}' holds NaN: export it from weights that are numbers.")
    for tensor in model.graph.initializer:
        if tensor.name in known:
            raise InputError(f"{name} has two weights that are called '{tensor.name}': export it again.")
        known.add(tensor.name)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for given in node.attribute:
            yield from _filled((given.t, *given.tensors))
            for inner in (given.g, *given.graphs):
                yield from _tensors(inner)


def _filled(tensors: Iterable[onnx.TensorProto]) -> Iterator[onnx.TensorProto]:
    """Without those that an attribute does not have."""
    return (tensor for tensor in tensors if tensor.data_type)


def _check_sizes(graph: onnx.GraphProto, name: str) -> None:
    for value in inputs_of(graph):
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value == 0:
                raise InputError(f"{name}: input '{value.name}' has an axis of size 0: export it again.")
