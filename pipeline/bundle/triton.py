"""A Triton model repository of one model: `config.pbtxt`, and the engine under the name that its backend looks for.

    triton/NAME/config.pbtxt
    triton/NAME/VERSION/model.onnx | model.xml, model.bin | model.plan

The configuration is a function of the manifest (for TensorRT of the engine's profile, too), so that whoever checks a
bundle can write it again and compare. Fields: `model_config.proto` of triton-inference-server/common.
"""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.tensorrt.sidecar import read_sidecar
from visiondeploy.pipeline.bundle.contract import FREE, batched
from visiondeploy.pipeline.bundle.manifest import Contract, Engine, Target, Tensor
from visiondeploy.pipeline.bundle.text_proto import Message, Symbol, Value, to_text

FOLDER = "triton"
CONFIG = "config.pbtxt"

LARGEST_BATCH = 4
"""Images that ONNX Runtime is given at once where they wait; its memory grows with it."""

TYPES = {
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


@dataclass(frozen=True, slots=True)
class Platform:
    """A backend of Triton that serves engines of one of ours.

    `parameters` are its options, "{threads}" stands for the number that was measured with. `batching` says what
    becomes of a free batch: requests are taken together, up to `LARGEST_BATCH` or what the engine's profile takes, or
    there is one at a time. `remarks` are for whoever reads the configuration.
    """

    backend: str
    model: str
    kind: Literal["KIND_CPU", "KIND_GPU"]
    batching: Literal["together", "single", "profile"]
    parameters: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


PLATFORMS: dict[str, Platform] = {
    "onnxruntime": Platform(
        backend="onnxruntime",
        model="model.onnx",
        kind="KIND_CPU",
        batching="together",
        parameters=(("intra_op_thread_count", "{threads}"), ("inter_op_thread_count", "1")),
    ),
    "openvino": Platform(
        backend="openvino",
        model="model.xml",
        kind="KIND_CPU",
        batching="single",
        parameters=(("INFERENCE_NUM_THREADS", "{threads}"), ("NUM_STREAMS", "1"), ("PERFORMANCE_HINT", "LATENCY")),
        remarks=(
            "Triton's OpenVINO backend compiles for max_batch_size images, and refuses or pads fewer: so it is 1.",
            "On CPUs that multiply bfloat16 OpenVINO may compute fp32 in that, and Triton has no option against it.",
        ),
    ),
    "tensorrt": Platform(backend="tensorrt", model="model.plan", kind="KIND_GPU", batching="profile"),
}
"""By our names. Triton has no backend that reads plans of TensorRT-RTX: there is none for "tensorrt-rtx" here."""


def config_of(name: str, contract: Contract, engine: Engine, target: Target, folder: Path) -> str:
    """The text of `config.pbtxt` for an engine in `folder`. Raises `InputError` for a backend that Triton lacks."""
    platform = platform_of(engine.backend)
    largest = max_batch_size(contract, platform, folder)
    message: list[tuple[str, Value]] = [
        ("name", name),
        ("backend", platform.backend),
        ("max_batch_size", largest),
        *(("input", _port(tensor, largest)) for tensor in contract.inputs),
        *(("output", _port(tensor, largest)) for tensor in contract.outputs),
        ("instance_group", (("count", 1), ("kind", Symbol(platform.kind)))),
    ]
    if largest > 1:
        # No delay: what waits already is taken together, and nothing waits for company.
        message.append(("dynamic_batching", (("max_queue_delay_microseconds", 0),)))
    message.append(("version_policy", (("latest", (("num_versions", 1),)),)))
    message.append(("model_warmup", _warmup(contract, largest)))
    for key, value in platform.parameters:
        text = value.format(threads=engine.threads)
        message.append(("parameters", (("key", key), ("value", (("string_value", text),)))))
    remarks = (f"{engine.precision} engine of {engine.backend} for {_place(target)}.", *platform.remarks)
    return "".join(f"# {remark}\n" for remark in remarks) + to_text(message)


def platform_of(backend: str) -> Platform:
    """What serves engines of a backend of ours. Raises `InputError` where Triton has nothing."""
    if backend not in PLATFORMS:
        raise InputError(
            f"Triton has no backend for engines of {backend}, only for those of {', '.join(PLATFORMS)}: load it with "
            "visiondeploy's own runtime."
        )
    return PLATFORMS[backend]


def max_batch_size(contract: Contract, platform: Platform, folder: Path) -> int:
    """The largest batch, 0 where a request has its batch in its own shape: the axis is fixed, or not there."""
    if not batched(contract):
        return 0
    match platform.batching:
        case "together":
            return LARGEST_BATCH
        case "single":
            return 1
        case "profile":
            profiles = read_sidecar(folder).profiles
            return min((shape.max[0] for profile in profiles[:1] for shape in profile.values()), default=1)


def lint(contract: Contract, platform: Platform, folder: Path) -> tuple[str, ...]:
    """What the engine's file calls its inputs and outputs otherwise than the contract, a sentence each.

    That of an ONNX file is for `contract.lint`; plans say nothing without a GPU.
    """
    if platform.model != "model.xml":
        return ()
    inputs, outputs = ir_names(folder / platform.model)
    problems = []
    for kind, said, found in (("inputs", contract.inputs, inputs), ("outputs", contract.outputs, outputs)):
        names = {tensor.name for tensor in said}
        if names != found:
            told = ", ".join(sorted(found)) or "none"
            problems.append(
                f"Triton knows the {kind} of {platform.model} as {told}, the contract as {', '.join(names)}"
            )
    return tuple(problems)


def ir_names(path: Path) -> tuple[set[str], set[str]]:
    """What OpenVINO's `get_any_name` gives for inputs and outputs of an IR: of several names the first by letters."""
    layers = Xml.parse(path).getroot().iterfind("layers/layer")
    inputs, outputs = set(), set()
    for layer in layers:
        if layer.get("type") == "Parameter":
            inputs |= {_first(port.get("names")) for port in layer.iterfind("output/port")}
        elif layer.get("type") == "Result":
            outputs.add(_first(layer.get("output_names")))
    return inputs, outputs


def _first(names: str | None) -> str:
    return min((names or "").split(","))


def _port(tensor: Tensor, largest: int) -> Message:
    dims = tensor.shape[1:] if largest else tensor.shape
    kind = Symbol(TYPES[tensor.dtype])
    return (("name", tensor.name), ("data_type", kind), *(("dims", size) for size in dims))


def _warmup(contract: Contract, largest: int) -> Message:
    """One request of the size that was measured, so that the first real one is not the slow one.

    Its batch size is 1 also where there is no batch: Triton skips a sample of batch size 0.
    """
    inputs: list[tuple[str, Value]] = []
    for tensor in contract.inputs:
        dims = example_shape(tensor, contract)[1 if largest else 0 :]
        kind = ("data_type", Symbol(TYPES[tensor.dtype]))
        value: Message = (kind, *(("dims", size) for size in dims), ("zero_data", True))
        inputs.append(("inputs", (("key", tensor.name), ("value", value))))
    return (("name", "one"), ("batch_size", 1), *inputs)


def example_shape(tensor: Tensor, contract: Contract) -> tuple[int, ...]:
    """The shape of an input for one image of the size that the network was measured with."""
    known = {}
    if contract.preprocessing is not None:
        known = {"H": contract.preprocessing.height, "W": contract.preprocessing.width}
    letters = tensor.layout or " " * len(tensor.shape)
    return tuple(
        known.get(letter, 1) if size == FREE else size for size, letter in zip(tensor.shape, letters, strict=True)
    )


def _place(target: Target) -> str:
    return ", ".join(target.gpus) if target.kind == "gpu" else " ".join((target.machine, *target.isa))
