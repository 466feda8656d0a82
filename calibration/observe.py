"""Ranges of the tensors of an fp32 ONNX graph, from real samples, one sample at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import onnx

from visiondeploy.calibration.observers import Observer, Range
from visiondeploy.errors import InputError
from visiondeploy.types import Array


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    samples: Iterable[Mapping[str, Array]],
    observer: Callable[[], Observer],
    threads: int,
) -> dict[str, Range]:
    """Run `model` on each of `samples` and return the range of each named tensor.

    Memory is that of the activations of one sample, whatever their number. Raises `InputError` where
    there is no sample, or a tensor's values are not finite (the message names it).
    """
    import onnxruntime as ort

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inputs = {value.name for value in model.graph.input}
    known = {value.name for value in watched.graph.output}
    computed = [name for name in tensors if name not in inputs]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in known)

    observers = {name: observer() for name in tensors}
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as folder:
        # From a file, since a serialised message in memory may not pass 2 GB.
        path = Path(folder) / "observed.onnx"
        onnx.save_model(watched, path, save_as_external_data=True, location="observed.data")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seen = 0
    for feeds in samples:
        outputs = session.run(computed, dict(feeds))
        for name, values in zip(computed, outputs, strict=True):
            observers[name].update(values)
        for name in inputs & set(tensors):
            observers[name].update(feeds[name])
        seen += 1
    if not seen:
        raise InputError("the calibration set is empty: int8 needs at least one image; see data.calibration.")
    ranges = {}
    for name, found in observers.items():
        try:
            ranges[name] = found.range()
        except InputError as error:
            raise InputError(f"tensor {name}: {error}") from None
    return ranges
