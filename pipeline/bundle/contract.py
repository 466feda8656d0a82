"""The contract of a bundle: what goes into an engine and what comes out, and whether its files say the same.

Names, types and shapes are those of the ONNX file that the engine was made from; what they mean is what the network's
description and its task say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from visiondeploy.errors import InputError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.segmentation import INPUT as IMAGE
from visiondeploy.models.tasks.segmentation import OUTPUT as LOGITS
from visiondeploy.models.tasks.segmentation_bytes import CLASSES
from visiondeploy.models.tasks.style import OUTPUT as PICTURE
from visiondeploy.models.tasks.style import STYLE, WEIGHTS
from visiondeploy.models.tasks.style_bytes import PIXELS
from visiondeploy.pipeline.backends.onnx_file import io_specs
from visiondeploy.pipeline.bundle.manifest import Contract, Preprocessing, Tensor
from visiondeploy.types import TensorSpec

FREE = -1
"""The size of an axis that the client chooses."""

BATCH = "batch"

RESIZING = {
    "segmentation": "the whole image, bilinear, antialiased",
    "style": "the middle of the image in the input's shape, bicubic, antialiased",
}
"""How the image gets the input's size, by task: Pillow's filters, which average where they shrink."""

TYPES = frozenset(get_args(Tensor.model_fields["dtype"].annotation))


@dataclass(frozen=True, slots=True)
class _Sense:
    """What a tensor means: the names of its axes, the range of its values, a few words."""

    layout: str | None = None
    low: float | None = None
    high: float | None = None
    words: str = ""


def contract_of(spec: NetworkSpec, onnx_file: Path) -> Contract:
    """The contract of the engines that are made from an ONNX file. Raises `InputError` for types that have no name."""
    inputs, outputs = io_specs(onnx_file)
    senses = _senses(spec)
    return Contract(
        task=spec.task,
        inputs=tuple(_tensor(port, senses.get(port.name), onnx_file) for port in inputs),
        outputs=tuple(_tensor(port, senses.get(port.name), onnx_file) for port in outputs),
        preprocessing=Preprocessing(
            height=spec.input.height,
            width=spec.input.width,
            mean=spec.input.mean,
            std=spec.input.std,
            resize=RESIZING.get(spec.task, "as the task does"),
            done=spec.io == "uint8",
        ),
        classes=spec.classes,
        palette=spec.palette,
        ignore_index=spec.ignore_index if spec.classes else None,
        styles=spec.style.names if spec.style else (),
    )


def batched(contract: Contract) -> bool:
    """Whether the first axis of every input and output is a batch whose size the client chooses."""
    every = (*contract.inputs, *contract.outputs)
    return all(tensor.shape and tensor.shape[0] == FREE and (tensor.layout or "N")[0] == "N" for tensor in every)


def lint(contract: Contract, onnx_file: Path) -> tuple[str, ...]:
    """What an ONNX file declares otherwise than the contract says, a sentence each; none where the two agree.

    Servers do not look: a wrong name in a configuration loads, and fails when the first request comes.
    """
    found = io_specs(onnx_file)
    return (
        *_differences("inputs", contract.inputs, found[0], onnx_file.name),
        *_differences("outputs", contract.outputs, found[1], onnx_file.name),
    )


def _differences(kind: str, said: Sequence[Tensor], found: Sequence[TensorSpec], file: str) -> list[str]:
    names, there = [tensor.name for tensor in said], [port.name for port in found]
    if names != there:
        return [f"the {kind} of {file} are {', '.join(there) or 'none'}, the contract says {', '.join(names)}"]
    problems = []
    for tensor, port in zip(said, found, strict=True):
        shape = _numbers(port.shape)
        if (tensor.dtype, tensor.shape) != (port.dtype, shape):
            problems.append(
                f"'{tensor.name}' is {port.dtype} {_written(shape)} in {file}, the contract says {tensor.dtype} "
                f"{_written(tensor.shape)}"
            )
    return problems


def _tensor(port: TensorSpec, sense: _Sense | None, file: Path) -> Tensor:
    known = sense or _Sense()
    if port.dtype not in TYPES:
        raise InputError(
            f"{file.name}: '{port.name}' is of type {port.dtype}, and a bundle describes {', '.join(sorted(TYPES))}: "
            "export the network with one of these."
        )
    return Tensor(
        name=port.name,
        dtype=cast("Any", port.dtype),
        shape=_numbers(port.shape),
        layout=known.layout if known.layout and len(known.layout) == len(port.shape) else None,
        low=known.low,
        high=known.high,
        meaning=known.words,
    )


def _senses(spec: NetworkSpec) -> dict[str, _Sense]:
    """What the tensors of a network mean, by name; of a graph of somebody else only what is known."""
    image = _Sense("NHWC" if spec.channels_last else "NCHW", *_image_range(spec), "an image, RGB")
    graph = spec.graph
    if graph is not None:
        known = {graph.image: image}
        known |= {one.name: _Sense(words="fed the same with every image") for one in graph.constants}
        if (shown := graph.picture) is not None:
            known[shown.name] = _Sense(shown.layout, shown.low, shown.high, "a picture, RGB, black to white")
        return known
    styles = ", ".join(spec.style.names) if spec.style else ""
    return {
        IMAGE: image,
        WEIGHTS: _Sense("NS", 0, 1, f"the weight of each style: {styles}"),
        STYLE: _Sense("NCHW", *_image_range(spec), "the painting whose style is wanted, RGB"),
        LOGITS: _Sense("NCHW", words="a logit for each class; the largest is the pixel's class"),
        CLASSES: _Sense("NHW", 0, len(spec.classes) - 1, "the class of each pixel"),
        PICTURE: _Sense("NCHW", 0, 1, "a picture, RGB; values outside are to be cut off"),
        PIXELS: _Sense("NHWC", 0, 255, "a picture, RGB"),
    }


def _image_range(spec: NetworkSpec) -> tuple[float, float]:
    return (0, 255) if spec.io == "uint8" else normalised_range(spec.input)


def normalised_range(spec: InputSpec) -> tuple[float, float]:
    """The smallest and the largest value of a normalised image, over its channels."""
    ends = [(end - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True) for end in (0.0, 1.0)]
    return min(ends), max(ends)


def _numbers(shape: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else FREE for size in shape)


def _written(shape: Sequence[int]) -> str:
    return "×".join("?" if size == FREE else str(size) for size in shape)
