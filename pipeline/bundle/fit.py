"""Whether this machine is one that an engine was made for: what it lacks, and what is merely different."""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.benchmarks.environment import capture, has_vnni
from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.artifact import tool_versions
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bundle.manifest import Manifest, Target
from visiondeploy.types import Precision


@dataclass(frozen=True, slots=True)
class Fit:
    """How this machine differs from the one that made the engine, a sentence each; none where it does not."""

    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether kind of processor, instruction sets and runtimes are those that gave the golden outputs."""
        return not self.differences


def fit(manifest: Manifest) -> Fit:
    """Raise `EnvironmentMismatch` where the engine does not run here, or would compute something else."""
    target, engine = manifest.target, manifest.engine
    backend = BACKENDS.get(engine.backend)
    # Engines that are made of anything else than ONNX hold code, as TorchScript does.
    if backend is None or backend.source != "onnx":
        known = ", ".join(name for name, one in BACKENDS.items() if one.source == "onnx")
        raise EnvironmentMismatch(
            f"the engine is one of {engine.backend}, which is not loaded from bundles: {known} are."
        )
    if reason := backend.unrunnable():
        raise EnvironmentMismatch(f"the engine is for {_place(target)}, and cannot run here ({reason}): run it there.")
    if target.kind == "gpu":
        # The backend holds GPU and release against the plan's own record before it deserialises it.
        return Fit(())
    _check_runtimes(target)
    here = capture(engine.threads)
    machine = here.machine or "unknown"
    if target.machine != machine and target.bound:
        raise EnvironmentMismatch(f"the engine is bound to {target.machine}, this is {machine}: build it here.")
    if engine.precision is Precision.INT8 and has_vnni(target.isa) and not has_vnni(here.isa):
        raise EnvironmentMismatch(
            f"the engine's int8 weights use 8 bits, for {' '.join(target.isa)}; this processor has no VNNI, and its "
            "8-bit products saturate: build it here."
        )
    there, this = (" ".join(filter(None, pair)) for pair in ((target.machine, target.cpu), (machine, here.cpu)))
    differences = [f"made on {there}, this is {this}: last bits may differ"] if there != this else []
    if lacking := [name for name in target.isa if name not in here.isa]:
        differences.append(f"measured with {' '.join(lacking)}, which this processor lacks: it may be slower")
    if more := [name for name in here.isa if name not in target.isa]:
        differences.append(f"this processor has {' '.join(more)}, too: another kernel may be chosen")
    return Fit((*differences, *_versions(target)))


def _check_runtimes(target: Target) -> None:
    found = tool_versions(*target.runtimes)
    for name, version in target.runtimes.items():
        if found[name] == "absent":
            raise EnvironmentMismatch(f"the engine needs {name} {version}, which is not installed: pip install {name}.")
        if target.bound and found[name] != version:
            raise EnvironmentMismatch(
                f"the engine is bound to {name} {version}, {found[name]} is installed: pip install {name}=={version}."
            )


def _versions(target: Target) -> tuple[str, ...]:
    found = tool_versions(*target.runtimes)
    return tuple(
        f"made with {name} {version}, here is {found[name]}"
        for name, version in target.runtimes.items()
        if found[name] != version
    )


def _place(target: Target) -> str:
    return ", ".join(target.gpus) or " ".join((target.machine, *target.isa))
