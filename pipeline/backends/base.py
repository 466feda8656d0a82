"""The contract of a backend: a runtime that compiles an artifact into an engine and loads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from visiondeploy.benchmarks.environment import has_avx512
from visiondeploy.errors import BackendUnavailable, UsageError
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.types import Array, Precision, Realised, Session

Source = Literal["network", "torchscript", "onnx"]


class Backend(Protocol):
    """One runtime. Importing the module that defines it imports no runtime.

    `source` is the kind of artifact that it compiles, `scheme` the Q/DQ scheme that it wants for int8, `alternatives`
    schemes that may be faster, which is measured where its engines run; `packages` what its engines depend on (their
    versions are part of every engine's key).
    """

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Source: ...

    @property
    def precisions(self) -> frozenset[Precision]: ...

    @property
    def scheme(self) -> str | None: ...

    @property
    def alternatives(self) -> tuple[str, ...]: ...

    @property
    def packages(self) -> tuple[str, ...]: ...

    def unavailable(self) -> str | None:
        """Why it cannot build here, with what to do; None where it can."""
        ...

    def unrunnable(self) -> str | None:
        """Why its engines cannot run here, though it may build them; None where they can."""
        ...

    def heed(self, recipe: Recipe) -> dict[str, Any]:
        """What of the recipe's [engine] decides an engine's bytes, as JSON: a part of the engine's key.

        Raises `UsageError` for a setting that it has no use for, `EnvironmentMismatch` for one that cannot be had.
        """
        ...

    def multiple(self, precision: Precision) -> int:
        """The number of channels whose multiples it computes without waste."""
        ...

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """Write the engine for the artifact folder `source` into `folder`, which is empty. Raises `InputError`."""
        ...

    def load(self, folder: Path, threads: int) -> Session:
        """The engine in `folder`, on `threads` threads. The caller has checked its digests.

        Raises `InputError`; `EnvironmentMismatch` where it is for another machine or its runtime is not here.
        """
        ...

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """What each layer really computes in, as the runtime itself reports it."""
        ...


class HostBackend:
    """What backends for the CPU share: their engines run where they are built, and no [engine] is for them."""

    name: str
    alternatives: tuple[str, ...] = ()
    reads_alone = False

    def unrunnable(self) -> str | None:
        """None: what is built here runs here."""
        return None

    def multiple(self, precision: Precision) -> int:
        """The single-precision lanes of this CPU's vectors, in which oneDNN and MLAS block channels, in int8 too."""
        return 16 if has_avx512() else 8

    def heed(self, recipe: Recipe) -> dict[str, Any]:
        """Nothing. Raises `UsageError` where something is set, which would have no effect."""
        for field in recipe.engine.changed():
            raise UsageError(
                f"engine.{field} is for engines that are compiled for a GPU, and backend {self.name} runs on the CPU: "
                "choose --backend tensorrt-rtx or tensorrt, or leave it away."
            )
        return {}


def not_installed(package: str, extra: str | None = None) -> str | None:
    """The reason for a package that is not installed; None where it is."""
    if importlib.util.find_spec(package.replace("-", "_")) is not None:
        return None
    install = f"'visiondeploy[{extra}]'" if extra else package
    return f"{package} is not installed: pip install {install}"


def require(backend: Backend, precision: Precision) -> None:
    """Raise `BackendUnavailable` where the backend is not installed or does not run the precision."""
    reason = backend.unavailable()
    if reason:
        raise BackendUnavailable(f"backend {backend.name}: {reason}.")
    if precision not in backend.precisions:
        runs = ", ".join(sorted(backend.precisions))
        raise BackendUnavailable(f"backend {backend.name} runs {runs}, not {precision}; choose another backend.")
