"""`engine.json`, which lies beside a plan and says what it is: read and checked before a byte of it is deserialised.

Deserialising a plan is running code: TensorRT trusts its bytes, and calls some damaged ones valid. The digest here says
that the plan is the one that was built, not who built it: whoever hands engines on signs the folder as a whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiondeploy.errors import BackendUnavailable, EnvironmentMismatch, InputError, IntegrityError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.backends.tensorrt.device import Device
from visiondeploy.pipeline.backends.tensorrt.flavour import Flavour
from visiondeploy.types import Layer

PLAN = "model.plan"
SIDECAR = "engine.json"

# 1: schema, flavour, release, targets, device, settings, inputs, outputs, layers, engine_layers, stored, plan, onnx
SCHEMA: Literal["visiondeploy.engine/1"] = "visiondeploy.engine/1"

LARGEST_SIDECAR = 64 << 20
"""Bytes of a sidecar that is read."""

ANEW = "build it again with the same `deploy build`"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Port(_Part):
    """An input or output: its name, NumPy's name of its type, its shape; a free axis is its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class ProfileRecord(_Part):
    """The smallest, the most usual and the largest shape of one input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class LayerTypes(_Part):
    """A layer of the engine: what TensorRT calls it, the ONNX nodes that it computes, what it reads and writes.

    The types here are "int8", "fp16" and so on.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[Port, ...]
    constants: tuple[Port, ...]
    outputs: tuple[Port, ...]


class FileDigest(_Part):
    """A file's SHA-256, and its size in bytes."""

    sha256: str
    size: int


class DeviceRecord(_Part):
    """The GPU that an engine was built on: its name, its compute capability, the CUDA version of its driver."""

    name: str
    target: str
    driver: int


class Sidecar(_Part):
    """What an engine is, and what it was built from.

    `targets` are the GPUs of an engine that was built ahead of time, `device` is the one of an engine that was built
    on it. `profiles` maps inputs to shapes, once for each profile of the engine. `layers` are the products of the
    graph with the type that each is computed in, `engine_layers` what the builder told of all layers, and `onnx` the
    files that the engine was built from.
    """

    schema_name: Annotated[Literal["visiondeploy.engine/1"], Field(alias="schema")] = SCHEMA
    flavour: str
    release: str
    targets: tuple[str, ...]
    device: DeviceRecord | None
    settings: dict[str, Any]
    profiles: tuple[dict[str, ProfileRecord], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    engine_layers: tuple[LayerTypes, ...]
    stored: dict[str, int]
    plan: FileDigest
    onnx: dict[str, FileDigest]

    def to_json(self) -> str:
        """As text, with a final newline."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def read_sidecar(folder: Path) -> Sidecar:
    """The sidecar of the engine in a folder. Raises `InputError`."""
    path = folder / SIDECAR
    try:
        return Sidecar.model_validate_json(read_bytes(path, LARGEST_SIDECAR))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), no plan is loaded without: {ANEW}.") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise InputError(f"{path} does not describe an engine ({where}: {problem['msg']}): {ANEW}.") from None


def read_plan(folder: Path, sidecar: Sidecar) -> bytes:
    """The bytes of the plan, which are those that were built: what is checked is what is deserialised.

    Raises `IntegrityError` for other bytes, `InputError` where there are none.
    """
    path = folder / PLAN
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {ANEW}.") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sidecar.plan.sha256:
        raise IntegrityError(
            f"{path} has the digest {found[:12]}…, built was {sidecar.plan.sha256[:12]}…: it is not loaded; {ANEW}."
        )
    return data


def check_release(folder: Path, sidecar: Sidecar, flavour: Flavour, release: str) -> None:
    """Raise `EnvironmentMismatch` for an engine of the other TensorRT or of another release: it is bound to both."""
    if sidecar.flavour != flavour.name:
        raise EnvironmentMismatch(
            f"{folder / PLAN} is an engine of {sidecar.flavour}, and {flavour.name} does not read it: {ANEW} and "
            f"--backend {flavour.name}."
        )
    if sidecar.release != release:
        raise EnvironmentMismatch(
            f"{folder / PLAN} was built by {flavour.title} {sidecar.release}, and {release}, which is here, does not "
            f"read it: {ANEW} here, or pip install {flavour.package}=={sidecar.release}."
        )


def check_device(folder: Path, sidecar: Sidecar, device: Device) -> None:
    """Raise `EnvironmentMismatch` where the engine was built for other GPUs than this one."""
    if sidecar.device is None and device.target not in sidecar.targets:
        raise EnvironmentMismatch(
            f"{folder / PLAN} was built for {', '.join(sidecar.targets)}, and {device.name} is {device.target}: {ANEW} "
            f"and --target {device.target}."
        )
    if sidecar.device is not None and (sidecar.device.name, sidecar.device.target) != (device.name, device.target):
        raise EnvironmentMismatch(
            f"{folder / PLAN} was built on {sidecar.device.name} ({sidecar.device.target}), and here is {device.name} "
            f"({device.target}): {ANEW} here."
        )


def elsewhere(sidecar: Sidecar, reason: str) -> BackendUnavailable:
    """The error for an engine that is in order and cannot run here."""
    where = sidecar.device.name if sidecar.device else " or ".join(sidecar.targets)
    return BackendUnavailable(f"{reason}: measure it on a machine with {where}.")
