"""An ONNX file to an engine, with the types that the builder's log tells of each layer.

Polygraphy's loaders are not used: which TensorRT they load is fixed for a process by a variable read at import
(POLYGRAPHY_USE_TENSORRT_RTX), so that one bench could not hold both; and they log through a `trt.Logger` of their own,
so that the types of the layers, which without a GPU are in the log alone, could not be read. For TensorRT-RTX they
have no switch for TF32 either, which is on (0.53.6). That they build the very same bytes with it is a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.errors import BackendUnavailable, EnvironmentMismatch, InputError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.backends.tensorrt.flavour import Flavour
from visiondeploy.pipeline.backends.tensorrt.layers import REPORT
from visiondeploy.pipeline.backends.tensorrt.profiles import FREE, Profile, axes_of, profile_of
from visiondeploy.pipeline.backends.tensorrt.targets import member_of
from visiondeploy.pipeline.engine import EngineSettings
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.types import TensorSpec

LARGEST_TIMING_CACHE = 1 << 30
"""Bytes of a timing cache that are read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised engine: its bytes, the report of its layers, its inputs and outputs, the profile of each input.

    `release` is TensorRT's own version, which the bytes are bound to.
    """

    data: bytes
    report: str
    release: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: dict[str, Profile]


def build(flavour: Flavour, model: Path, settings: EngineSettings, targets: tuple[str, ...]) -> Plan:
    """Build the engine of an ONNX file; precision is what its graph says (strongly typed).

    `targets` are for a flavour that builds ahead of time. Raises `InputError` where the file does not parse or
    cannot be built, `UsageError` for a profile that does not fit it, `EnvironmentMismatch` for an unknown target.
    """
    trt = flavour.module()
    log = logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, log, network, model, flavour)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    if not inputs or not outputs:
        # Of other files the parser makes an empty network: protobuf skips what it does not know.
        raise InputError(f"{model.name} has {len(inputs)} inputs and {len(outputs)} outputs: it is no ONNX network.")
    profiles = {tensor.name: profile_of(tensor.name, tuple(tensor.shape), settings) for tensor in inputs}
    config = builder.create_builder_config()
    # The types of the layers are told only so. The engine is as large without.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not settings.tf32:
        # On by default: then fp32 would be multiplied with 10 bits.
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.builder_level is not None:
        config.builder_optimization_level = settings.builder_level
    if flavour.ahead_of_time:
        _aim(trt, config, targets)
    if any(FREE in tuple(tensor.shape) for tensor in inputs):
        _add_profile(builder, config, profiles, log)
    kept = _timing_cache(config, settings.timing_cache)
    data = builder.build_serialized_network(network, config)
    if data is None:
        where = f" for {', '.join(targets)}" if targets else ""
        reason = log.reason()
        _forget(trt, log)
        raise InputError(f"{flavour.title} {trt.__version__} does not build {model.name}{where}: {reason}.")
    if kept is not None:
        cache = config.get_timing_cache()
        write_atomic(kept, bytes(cache.serialize()))
    return Plan(
        bytes(data),
        log.report,
        str(trt.__version__),
        tuple(_spec(tensor) for tensor in inputs),
        tuple(_spec(tensor) for tensor in outputs),
        profiles,
    )


def _forget(trt: Any, log: Any) -> None:
    """Build an empty network, so that the next build is not one for the targets of the build that failed.

    TensorRT-RTX 1.7.1 lowers the first build after a failed one in the same process as for the failed one's targets:
    an engine for sm_86 comes out as one for sm_75, and the other way round.
    """
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    given = network.add_input("nothing", trt.DataType.FLOAT, (1,))
    network.mark_output(network.add_identity(given).get_output(0))
    builder.build_serialized_network(network, builder.create_builder_config())


def logger(trt: Any) -> Any:
    """An `ILogger` that keeps what is needed: errors, for their sentence, and the report of the layers."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """TensorRT keeps no reference to it: whoever hands it over holds it."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.report = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, also from its own threads; it must not raise."""
            if int(severity) <= int(trt.ILogger.ERROR):
                self.errors.append(message)
            elif message.startswith(REPORT):
                self.report += message.removeprefix(REPORT) + "\n"

        def reason(self) -> str:
            """The last error in one line, without the positions in TensorRT's own sources."""
            return plain(self.errors[-1]) if self.errors else "it gave no reason"

    return Log()


def plain(message: str) -> str:
    """A message of TensorRT's as one line for people.

    >>> plain("IBuilder::build: Error Code 4: API Usage Error (no profile. In validate at /_src/network.cpp:40)")
    'API Usage Error (no profile)'
    """
    line = " ".join(message.split())
    line = re.sub(r"^.*?Error Code [0-9]+: ", "", line)
    line = re.sub(r"\[[\w.]+:[0-9]+: \w+\] ", "", line)
    line = re.sub(r"\.? In \w+ at /\S+?\.\w+:[0-9]+", "", line)
    return line[:400].rstrip(". ")


def _parse(trt: Any, log: Any, network: Any, model: Path, flavour: Flavour) -> None:
    # From the file, so that weights beside it are found.
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(model)):
        return
    reason = log.reason()
    if parser.num_errors:
        error = parser.get_error(0)
        node = f"node {error.node_name() or error.node()} ({error.node_operator()}): " if error.node_operator() else ""
        reason = node + plain(error.desc())
    raise InputError(f"{flavour.title} {trt.__version__} does not parse {model.name}: {reason}.")


def _aim(trt: Any, config: Any, targets: tuple[str, ...]) -> None:
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, member_of(target), None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise EnvironmentMismatch(
                f"TensorRT-RTX {trt.__version__} does not build for {target}: leave it away, or install another one."
            )


def _add_profile(builder: Any, config: Any, profiles: dict[str, Profile], log: Any) -> None:
    profile = builder.create_optimization_profile()
    for name, found in profiles.items():
        profile.set_shape(name, found.min, found.opt, found.max)
    if config.add_optimization_profile(profile) < 0:
        shapes = ", ".join(f"{name} {found}" for name, found in profiles.items())
        raise InputError(f"TensorRT does not take the optimisation profile {shapes}: {log.reason()}.")


def _timing_cache(config: Any, place: str | None) -> Path | None:
    """Attach the cache in a file, or a new one; returns the file, None where none is wanted. Raises `InputError`."""
    if place is None:
        return None
    path = Path(place)
    try:
        data = read_bytes(path, LARGEST_TIMING_CACHE)
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise InputError(f"engine.timing_cache: {path} cannot be read ({error.strerror}): name a file.") from None
    cache = config.create_timing_cache(data)
    # Not of another GPU or release: its times would be of another machine.
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise BackendUnavailable(
            f"engine.timing_cache: {path} is of another GPU or TensorRT: name another file, or remove this one."
        )
    return path


def _spec(tensor: Any) -> TensorSpec:
    extents = tuple(tensor.shape)
    shape = tuple(axis if size == FREE else int(size) for axis, size in zip(axes_of(extents), extents, strict=True))
    return TensorSpec(tensor.name, numpy_name(tensor.dtype), shape)


def numpy_name(kind: Any) -> str:
    """NumPy's name of a TensorRT type: "float32"."""
    name = str(kind.name)
    return {"FLOAT": "float32", "HALF": "float16"}.get(name, name.lower())
