"""Backends `tensorrt` and `tensorrt-rtx`: one implementation over the names that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import BackendUnavailable, UsageError
from visiondeploy.pipeline.backends.base import Source, not_installed
from visiondeploy.pipeline.backends.inside import LayerDetail, LayerTime, Shapes
from visiondeploy.pipeline.backends.onnx_file import Product, products, stored_of
from visiondeploy.pipeline.backends.tensorrt.device import Device, NoDevice, find_device
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT, TENSORRT_RTX, Flavour
from visiondeploy.pipeline.backends.tensorrt.layers import Operand, owners, parse_layers, realise
from visiondeploy.pipeline.backends.tensorrt.profiler import identity, layer_times
from visiondeploy.pipeline.backends.tensorrt.sidecar import (
    PLAN,
    SIDECAR,
    DeviceRecord,
    FileDigest,
    LayerTypes,
    Port,
    ProfileRecord,
    Sidecar,
    check_device,
    check_release,
    elsewhere,
    read_plan,
    read_sidecar,
)
from visiondeploy.pipeline.backends.tensorrt.targets import TURING, check_fp8, targets_of
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.pipeline.files import sha256_file
from visiondeploy.types import Array, Layer, Precision, Realised, Session, TensorSpec

if TYPE_CHECKING:
    from visiondeploy.pipeline.backends.tensorrt.builder import Plan
    from visiondeploy.pipeline.backends.tensorrt.runtime import TensorRtSession
    from visiondeploy.pipeline.recipe import Recipe

MODEL = "model.onnx"
WEIGHTS = "model.data"


class TensorRtBackend:
    """One of the two TensorRTs. The engine is a plan with its sidecar: bound to the release, and to the GPUs it is for.

    Precision is what the ONNX graph says (networks are strongly typed); what the builder made of it is in the sidecar.
    """

    source: Source = "onnx"
    precisions = frozenset(Precision)
    scheme = "tensorrt"
    alternatives = ("tensorrt-branches",)
    reads_alone = True

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.name = flavour.name
        self.packages = (flavour.package, "pycuda")

    def unavailable(self) -> str | None:
        """None where it is installed and, unless it builds ahead of time, a GPU is here."""
        reason = self._missing()
        if reason is None and not self.flavour.ahead_of_time:
            try:
                find_device()
            except NoDevice as error:
                reason = f"it builds on the GPU that it builds for, but there is {error}: tensorrt-rtx needs none"
        return reason

    def multiple(self, precision: Precision) -> int:
        """What its tensor cores take at once: NVIDIA's "Deep Learning Performance" guide, 16 bytes of one operand.

        For int8 twice that, as TensorRT's own layouts hold 32 channels of it.
        """
        return {Precision.INT8: 32, Precision.FP8: 16}.get(precision, 8)

    def unrunnable(self) -> str | None:
        """None where its engines can run: with a GPU, and the packages that talk to it."""
        try:
            find_device()
        except NoDevice as error:
            return str(error)
        return self._missing() or not_installed("pycuda") or _driver_missing()

    def _missing(self) -> str | None:
        """Why its package is not of use here; None where it imports."""
        reason = not_installed(self.flavour.package, extra=self.flavour.name)
        if reason is None:
            try:
                self.flavour.module()
            except BackendUnavailable as error:
                reason = str(error).rstrip(".")
        return reason

    def heed(self, recipe: Recipe) -> dict[str, Any]:
        """The settings that decide an engine's bytes, with the targets by their names."""
        settings, flavour = recipe.engine, self.flavour
        for field in settings.changed():
            if field not in flavour.settings:
                others = [other for other in (TENSORRT, TENSORRT_RTX) if field in other.settings]
                raise UsageError(
                    f"engine.{field} has no effect in {flavour.title}: leave it away, or choose --backend "
                    f"{others[0].name}."
                )
        for axis in ("height", "width"):
            # Both are found out by the builder too, but only after a training.
            if recipe.export.dynamic_size and getattr(settings, axis) is None:
                raise UsageError(
                    f"with export.dynamic_size the {axis} of the graph is free: set engine.{axis} = [min, opt, max]."
                )
            if not recipe.export.dynamic_size and getattr(settings, axis) is not None:
                raise UsageError(
                    f"engine.{axis} is for a graph whose size is free: set export.dynamic_size, or leave it away."
                )
        if not settings.batch[0] <= 1 <= settings.batch[2]:
            raise UsageError(
                f"engine.batch = {list(settings.batch)} leaves out single images, which everything is measured with: "
                "let it begin with 1."
            )
        targets = self._targets(settings, fp8=recipe.precision is Precision.FP8)
        if recipe.precision is Precision.FP8 and not self.flavour.ahead_of_time:
            check_fp8(_device().target)
        if TURING in targets[:-1] and recipe.precision is Precision.INT8 and not settings.allow_fallback:
            # Measured: all convolutions of such an engine are in fp32, also on the others.
            raise UsageError(
                f"TensorRT-RTX computes no convolution in int8 on {TURING} (Turing), and in one engine with it on "
                f"{', '.join(targets[1:])} neither: build without {TURING}, or add --allow-fallback."
            )
        return {**self._kept(settings), "targets": list(targets)}

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """Build the plan, and write what it is beside it."""
        from visiondeploy.pipeline.backends.tensorrt.builder import build

        device = None if self.flavour.ahead_of_time else _device()
        # What the graph asks for decides: the settings do not say.
        wanted = products(source / MODEL)
        targets = self._targets(settings, fp8=any(product.wanted == Precision.FP8 for product in wanted))
        plan = build(self.flavour, source / MODEL, settings, targets)
        (folder / PLAN).write_bytes(plan.data)
        sidecar = self._describe(source, folder, wanted, plan, settings, targets, device)
        (folder / SIDECAR).write_text(sidecar.to_json(), encoding="utf-8")

    def load(self, folder: Path, threads: int) -> Session:
        """The engine on the first GPU, after its digest, its release and its GPU were checked.

        Raises `IntegrityError`, `EnvironmentMismatch`, and `BackendUnavailable` where there is no GPU at all.
        """
        return self._session(folder)

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """The layers of the engine by the device's own events, without a CUDA graph, as `IProfiler` has them.

        Raises as `load`.
        """
        with self._session(folder, profiled=True) as session:
            return layer_times(session.time_layers(feeds, runs), read_sidecar(folder))

    def _session(self, folder: Path, *, profiled: bool = False) -> TensorRtSession:
        sidecar = read_sidecar(folder)
        data = read_plan(folder, sidecar)
        check_release(folder, sidecar, self.flavour, str(self.flavour.module().__version__))
        try:
            check_device(folder, sidecar, find_device())
        except NoDevice as error:
            raise elsewhere(sidecar, str(error)) from None
        reason = self.unrunnable()
        if reason is not None:
            raise BackendUnavailable(f"backend {self.name}: {reason}.")
        from visiondeploy.pipeline.backends.tensorrt.runtime import TensorRtSession

        return TensorRtSession(self.flavour, data, sidecar, profiled=profiled)

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """What the builder made of each product, from the sidecar: types are fixed when an engine is built."""
        sidecar = read_sidecar(folder)
        return Realised(sidecar.layers, sidecar.stored)

    def layers(self, folder: Path, threads: int, shapes: Shapes, recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
        """Every layer of the engine, from the sidecar: nothing is deserialised, and no GPU is needed.

        A layer is called after the first product in it. Its work is that of the graph's nodes in it.
        """
        products = {layer.name: layer for layer in recorded}
        found = []
        for layer in read_sidecar(folder).engine_layers:
            name, compute = identity(layer, products)
            found.append(
                LayerDetail(
                    name=name,
                    kind=layer.kind,
                    inputs=_specs(layer.inputs),
                    outputs=_specs(layer.outputs),
                    compute=compute,
                    provider="cuda",
                    fused=tuple(node for node in layer.nodes if node != name),
                )
            )
        return tuple(found)

    def _targets(self, settings: EngineSettings, *, fp8: bool) -> tuple[str, ...]:
        return targets_of(settings.targets, fp8=fp8) if self.flavour.ahead_of_time else ()

    def _kept(self, settings: EngineSettings) -> dict[str, Any]:
        """What decides the bytes, besides the targets."""
        return settings.model_dump(
            mode="json", include=set(self.flavour.settings - {"targets", "timing_cache", "allow_fallback"})
        )

    def _describe(
        self,
        source: Path,
        folder: Path,
        wanted: Sequence[Product],
        plan: Plan,
        settings: EngineSettings,
        targets: tuple[str, ...],
        device: Device | None,
    ) -> Sidecar:
        report = plan.report
        if not report and device is not None:
            from visiondeploy.pipeline.backends.tensorrt.runtime import inspect

            report = inspect(self.flavour, plan.data, {name: profile.opt for name, profile in plan.profiles.items()})
        layers = parse_layers(report)
        owned = owners(layers)
        return Sidecar(
            flavour=self.name,
            release=plan.release,
            targets=targets,
            device=DeviceRecord(name=device.name, target=device.target, driver=device.driver) if device else None,
            settings=self._kept(settings),
            profiles=({name: ProfileRecord(min=p.min, opt=p.opt, max=p.max) for name, p in plan.profiles.items()},),
            inputs=tuple(Port(name=s.name, dtype=s.dtype, shape=s.shape) for s in plan.inputs),
            outputs=tuple(Port(name=s.name, dtype=s.dtype, shape=s.shape) for s in plan.outputs),
            layers=tuple(realise(wanted, layers, "cuda", tf32=settings.tf32)),
            engine_layers=tuple(
                LayerTypes(
                    name=layer.name,
                    kind=layer.kind,
                    nodes=tuple(node for node in layer.nodes if owned[node] == place),
                    inputs=_ports(layer.inputs),
                    constants=_ports(layer.constants),
                    outputs=_ports(layer.outputs),
                )
                for place, layer in enumerate(layers)
            ),
            stored=stored_of(wanted),
            plan=_digest(folder / PLAN),
            onnx={name: _digest(source / name) for name in (MODEL, WEIGHTS) if (source / name).exists()},
        )


def _specs(ports: Sequence[Port]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(port.name, port.dtype, port.shape) for port in ports)


def _device() -> Device:
    try:
        return find_device()
    except NoDevice as error:
        raise BackendUnavailable(f"{error}.") from None


def _ports(operands: Sequence[Operand]) -> tuple[Port, ...]:
    """What a layer reads or writes, as the sidecar has it; a free axis is the batch or has a number."""
    return tuple(
        Port(
            name=operand.name,
            dtype=operand.type,
            shape=tuple(
                size if size >= 0 else "batch" if axis == 0 else f"axis{axis}"
                for axis, size in enumerate(operand.shape)
            ),
        )
        for operand in operands
    )


def _driver_missing() -> str | None:
    """Why PyCUDA cannot talk to the driver; None where it can."""
    try:
        import pycuda.driver  # noqa: F401
    except (ImportError, OSError) as error:
        return f"pycuda does not import ({str(error).splitlines()[0]}): install it anew for the CUDA that is here"
    return None


def _digest(path: Path) -> FileDigest:
    return FileDigest(sha256=sha256_file(path), size=path.stat().st_size)
