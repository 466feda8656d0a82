"""Stage `adopt`: an ONNX file of somebody else as the network of a build, byte for byte.

What the file does not say is found out here, or taken from the recipe: which input takes the image and in which layout,
what the other inputs are fed, which output is a picture, and what is black and white in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiondeploy.benchmarks.report.parts import OnnxFile
from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.spec import ConstantFeed, GraphSpec, InputSpec, Layout, NetworkSpec, PictureOutput
from visiondeploy.pipeline.backends.onnx_file import inputs_of, precision_of
from visiondeploy.pipeline.backends.onnx_given import parse_given
from visiondeploy.types import Array, Precision, Sample

if TYPE_CHECKING:
    import onnx

    from visiondeploy.pipeline.recipe import ModelSettings

# 1: the file as it is, with what was found of its inputs and outputs
VERSION = 1
TOOLS = ("onnx", "onnxruntime", "pillow")

MODEL = "model.onnx"
SIZE = 512
"""Height and width of the images where both the graph and the recipe leave them free."""

BRIGHT = 8.0
"""What passes this, in a picture of a photograph, counts to 255."""
DARK = -0.1
"""Of a picture in −1 … 1 more than a tenth lies below this; of one in 0 … 1 nothing but what a filter overshoots."""


def adopt(
    data: bytes,
    name: str,
    sha256: str,
    task: str,
    model: ModelSettings,
    wanted: tuple[int | None, int | None],
    normalised: InputSpec,
    sample: Sample,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Write the file as `model.onnx`; return the `GraphSpec`, the input's size and what the file holds.

    `wanted` is the size that the recipe asks for, `normalised` has mean and standard deviation. `sees` says whether the
    outputs are others for another image: with some feeds they are not. Raises `InputError` for
    a file that is none or has no input for an image, and for one that gives no numbers for the sample; `UsageError` for
    a size or feeds that it does not take.
    """
    from visiondeploy.models.tasks.table import task_of
    from visiondeploy.pipeline.backends.onnx_inside import graph_layers
    from visiondeploy.pipeline.backends.table import BACKENDS

    given = parse_given(data, name)
    (folder / MODEL).write_bytes(data)
    image, layout = _image(given.graph, name, model.feeds)
    height, width = _size(image, layout, name, wanted)
    graph = GraphSpec(
        file=name,
        sha256=sha256,
        precision=precision_of(given),
        image=image.name,
        layout=layout,
        constants=_constants(given.graph, name, image.name, model.feeds),
        outputs=tuple(value.name for value in given.graph.output),
    )
    size = normalised.model_copy(update={"height": height, "width": width})
    style = {"names": (), "digests": (), "features": None, "weights": None, "size": SIZE}
    spec = NetworkSpec.model_validate(
        {"architecture": "onnx", "task": task, "style": style, "input": size, "graph": graph}
    )
    other = replace(sample, image=255 - sample.image)
    feeds, others = (task_of(spec).preprocess([one]) for one in (sample, other))
    try:
        with BACKENDS["onnxruntime"].load(folder, threads) as session:
            outputs, changed = session.infer(feeds), session.infer(others)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name} cannot be run on an image of {height}×{width} ({reason}): try another --size."
        ) from None
    picture = _picture(outputs, name, model.black_white)
    layers = graph_layers(folder / MODEL, {key: feed.shape for key, feed in feeds.items()})
    return {
        "graph": graph.model_copy(update={"picture": picture}).model_dump(mode="json"),
        "height": height,
        "width": width,
        "opset": max((used.version for used in given.opset_import if used.domain in {"", "ai.onnx"}), default=1),
        "producer": " ".join(filter(None, (given.producer_name, given.producer_version))),
        "nodes": len(given.graph.node),
        "parameters": sum(layer.parameters or 0 for layer in layers),
        "sees": any(not np.array_equal(value, changed[key]) for key, value in outputs.items()),
    }


def _image(graph: onnx.GraphProto, name: str, feeds: Mapping[str, object]) -> tuple[onnx.ValueInfoProto, Layout]:
    """The first input that takes an image and that the recipe does not feed, with its layout."""
    import onnx

    inputs = inputs_of(graph)
    for value in inputs:
        axes = _axes(value)
        fits = len(axes) == 4 and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        if not fits or value.name in feeds or 3 not in {axes[1], axes[3]}:
            continue
        if axes[0] not in {None, 1}:
            raise InputError(
                f"{name}: input '{value.name}' takes {axes[0]} images at once, expected 1 or a free axis: export it so."
            )
        return value, "NCHW" if axes[1] == 3 else "NHWC"
    found = ", ".join(f"{value.name} {_shown(value)}" for value in inputs) or "none"
    raise InputError(
        f"{name} has no input for an image, expected is N×3×H×W or N×H×W×3 of float32; found {found}: export it with "
        "one."
    )


def _axes(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The size of each axis of an input, None for a free one."""
    return tuple(axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim)


def _shown(value: onnx.ValueInfoProto) -> str:
    from onnx import TensorProto

    sizes = "×".join("?" if axis is None else str(axis) for axis in _axes(value))
    return f"{sizes} of {TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()}"


def _size(
    image: onnx.ValueInfoProto, layout: Layout, name: str, wanted: tuple[int | None, int | None]
) -> tuple[int, int]:
    axes = _axes(image)
    fixed = axes[2:] if layout == "NCHW" else axes[1:3]
    for own, asked in zip(fixed, wanted, strict=True):
        if own is not None and asked not in {None, own}:
            raise UsageError(
                f"{name} takes images of {fixed[0] or 'any'}×{fixed[1] or 'any'}, and asked for was "
                f"{wanted[0]}×{wanted[1]}: leave --size away."
            )
    height, width = (own or asked or SIZE for own, asked in zip(fixed, wanted, strict=True))
    return height, width


def _constants(
    graph: onnx.GraphProto, name: str, image: str, feeds: Mapping[str, float | tuple[float, ...]]
) -> tuple[ConstantFeed, ...]:
    others = [value for value in inputs_of(graph) if value.name != image]
    unknown = sorted(set(feeds) - {value.name for value in others})
    if unknown:
        known = ", ".join(value.name for value in others) or "it has none"
        raise UsageError(f"model.feeds names '{unknown[0]}', no input of {name} beside the image; known: {known}.")
    return tuple(_constant(value, name, feeds.get(value.name)) for value in others)


def _constant(value: onnx.ValueInfoProto, name: str, given: float | tuple[float, ...] | None) -> ConstantFeed:
    """What an input is fed: what the recipe says; else a one at the first place of a vector of floats, or zeros."""
    from onnx import TensorProto, helper

    kind = value.type.tensor_type.elem_type
    if kind in {TensorProto.UNDEFINED, TensorProto.STRING}:
        raise InputError(
            f"{name}: input '{value.name}' takes no numbers, which nothing here can feed: export it without."
        )
    axes = _axes(value)
    shape = tuple(axis or 1 for axis in axes)
    count = math.prod(shape)
    values: float | tuple[float, ...] = 0.0
    if given is not None:
        if isinstance(given, tuple) and len(given) != count:
            raise UsageError(
                f"model.feeds.{value.name} has {len(given)} values, {name} takes {count} ({_shown(value)}): give as "
                "many, or one number for all."
            )
        values = given
    elif kind in {TensorProto.FLOAT, TensorProto.FLOAT16} and len(shape) in {1, 2} and count == shape[-1] > 1:
        values = (1.0, *[0.0] * (count - 1))
    return ConstantFeed(
        name=value.name,
        dtype=str(helper.tensor_dtype_to_np_dtype(kind)),
        shape=shape,
        values=values,
        batched=len(axes) > 1 and axes[0] is None,
        given=given is not None,
    )


def _picture(outputs: Mapping[str, Array], name: str, black_white: tuple[float, float] | None) -> PictureOutput | None:
    """The first output that is a picture, and its range: what the recipe says, or what is likely from its values."""
    for output, values in outputs.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InputError(
                f"{name} gives NaN or infinity in '{output}' for an image: set input.mean, input.std or model.feeds."
            )
    for output, values in outputs.items():
        if values.ndim != 4 or not np.issubdtype(values.dtype, np.floating):
            continue
        layout: Layout = "NCHW" if values.shape[1] == 3 else "NHWC"
        sides = values.shape[2:] if layout == "NCHW" else values.shape[1:3]
        if 3 in {values.shape[1], values.shape[3]} and min(sides) > 1:
            low, high = black_white or _likely_range(values)
            return PictureOutput(name=output, layout=layout, low=low, high=high)
    return None


def _likely_range(picture: Array) -> tuple[float, float]:
    """What is black and what is white in a picture, of 0 … 1, −1 … 1 and 0 … 255."""
    if np.abs(picture).max() > BRIGHT:
        return 0.0, 255.0
    return (-1.0, 1.0) if np.percentile(picture, 10) < DARK else (0.0, 1.0)


def notes(spec: NetworkSpec) -> tuple[str, ...]:
    """What a report says of a network that is somebody else's file; nothing of one of ours."""
    graph, style = spec.graph, spec.style
    if graph is None or style is None:
        return ()
    said = [
        f"the baseline is {graph.file} itself (sha256 {graph.sha256[:12]}…), in {graph.precision} in ONNX Runtime: "
        "there is no PyTorch network, and what it was taught is not known"
    ]
    if graph.precision is not Precision.FP32:
        why = "it has Q/DQ of its own" if graph.precision is Precision.INT8 else "its weights are stored so"
        said.append(f"{graph.file} is {graph.precision} already, since {why}: engines are made of it unchanged")
    said += [_fed(constant) for constant in graph.constants]
    if graph.picture is None:
        return (
            *said,
            f"{graph.file} gives no picture: its {', '.join(graph.outputs)} is compared by its numbers alone",
        )
    low, high = graph.picture.low, graph.picture.high
    said.append(f"in '{graph.picture.name}' {low:g} is taken for black and {high:g} for white (model.black_white)")
    if style.features is None:
        said.append(
            "style and content were not judged: the weights of the feature network are not here (style.features; see "
            "`deploy weights list`)"
        )
    elif not style.names:
        said.append("style was not judged: no painting was named with --style")
    return tuple(said)


def _fed(constant: ConstantFeed) -> str:
    where = f"input '{constant.name}' ({'×'.join(map(str, constant.shape)) or 'one number'})"
    if constant.given:
        return f"{where} is fed what model.feeds says"
    what = "zeros" if isinstance(constant.values, float) else "1 at its first place and 0 elsewhere"
    return f"{where} is fed {what}, as model.feeds does not name it"


def reported(spec: NetworkSpec) -> OnnxFile | None:
    """The file as a report names it; None of a network of ours."""
    graph = spec.graph
    return None if graph is None else OnnxFile(name=graph.file, sha256=graph.sha256, precision=graph.precision)
