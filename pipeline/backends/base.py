"""The contract of a backend: a runtime that compiles an artifact into an engine and loads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from visiondeploy.errors import BackendUnavailable
from visiondeploy.types import Array, Precision, Realised, Session

Source = Literal["network", "torchscript", "onnx"]


class Backend(Protocol):
    """One runtime. Importing the module that defines it imports no runtime.

    `source` is the kind of artifact that it compiles, `scheme` the Q/DQ scheme that it wants for int8,
    `packages` what its engines depend on (their versions are part of every engine's key).
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
    def packages(self) -> tuple[str, ...]: ...

    def unavailable(self) -> str | None:
        """Why it cannot be used here, with what to do; None where it can."""
        ...

    def compile(self, source: Path, folder: Path) -> None:
        """Write the engine for the artifact folder `source` into `folder`, which is empty. Raises `InputError`."""
        ...

    def load(self, folder: Path, threads: int) -> Session:
        """The engine in `folder`, on `threads` threads. The caller has checked its digests. Raises `InputError`."""
        ...

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """What each layer really computes in, as the runtime itself reports it."""
        ...


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
