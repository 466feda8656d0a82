"""What an engine runs on, and whether that is here: golden outputs are made on the target or not at all."""

from __future__ import annotations

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.report.schema import Environment
from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.artifact import tool_versions
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT, TENSORRT_RTX
from visiondeploy.pipeline.backends.tensorrt.sidecar import read_sidecar
from visiondeploy.pipeline.bundle.manifest import Target
from visiondeploy.pipeline.bundle.subject import Subject

FLAVOURS = {flavour.name: flavour for flavour in (TENSORRT, TENSORRT_RTX)}

UNKNOWN = "unknown"


def target_of(subject: Subject) -> Target:
    """The machine that an engine was measured on; of one for GPUs those that it was built for."""
    environment, backend = subject.report.environment, subject.engine.backend
    machine = environment.machine or UNKNOWN
    flavour = FLAVOURS.get(backend)
    if flavour is None:
        version, here = environment.versions.get(backend, UNKNOWN), capture(environment.threads).cpu
        return Target(kind="cpu", machine=machine, cpu=here, isa=environment.isa, runtimes={backend: version})
    sidecar = read_sidecar(subject.place.folder)
    return Target(
        kind="gpu",
        machine=machine,
        gpus=(sidecar.device.target,) if sidecar.device else sidecar.targets,
        runtimes={flavour.package: sidecar.release},
        bound=True,
    )


def check_here(target: Target, threads: int) -> None:
    """Raise `EnvironmentMismatch` where this machine or its runtimes are not those that a CPU engine was measured on.

    What it gives here would be handed on as what it gave there.
    """
    if target.kind == "gpu":
        return
    here = capture(threads)
    found = tool_versions(*target.runtimes)
    for package, version in target.runtimes.items():
        if found[package] != version:
            raise EnvironmentMismatch(
                f"the engine was measured with {package} {version}, and here is {found[package]}: pip install "
                f"{package}=={version}, or build it again."
            )
    if _machine(here) != (target.machine, target.isa):
        raise EnvironmentMismatch(
            f"the engine was measured on {_said(target.machine, target.isa)}, and this is {_said(*_machine(here))}: "
            "bundle it there, or build it again here."
        )


def _machine(environment: Environment) -> tuple[str, tuple[str, ...]]:
    return environment.machine or UNKNOWN, environment.isa


def _said(machine: str, isa: tuple[str, ...]) -> str:
    return f"{machine} with {', '.join(isa) or 'no instruction set that is known'}"
