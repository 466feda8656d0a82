"""Triton Inference Server on this machine's CPU: the binary that the PyPI wheel `nvidia-pytriton` carries.

For trying out what will be served, with the real server and real clients. The binary is an old release with published
vulnerabilities, so it listens on loopback alone. It has only the `python` backend, so `triton_model.py` stands in for
`onnxruntime` and `openvino`. It wants NumPy 1, so it has an environment of its own, in whose Python this runs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.serving.process import LOOPBACK, free_ports, running

PACKAGE = "nvidia-pytriton"
BACKENDS = ("onnxruntime", "openvino")
STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Served:
    """Where a server listens, as clients want it (`host:port`), and the file with what it says."""

    http: str
    grpc: str
    log: Path


def unavailable() -> str | None:
    """Why there is no Triton here, with what to do; None where there is one."""
    if importlib.util.find_spec("pytriton") is None:
        return f"{PACKAGE} is not installed: `make serving` sets up an environment with it"
    if not _binary().is_file():
        return f"{PACKAGE} has no {_binary().name} for this machine: it is published for Linux on x86-64 and aarch64"
    return None


@contextmanager
def triton(repository: Path, scratch: Path) -> Iterator[Served]:
    """A Triton that serves a model repository, with `scratch`, an empty folder, for what it needs.

    Models are loaded and loaded again when a client asks for it (model control mode `explicit`); all of them are
    loaded at the start. Raises `EnvironmentMismatch` where there is no Triton here, or it does not load the repository.
    """
    if reason := unavailable():
        raise EnvironmentMismatch(f"Triton cannot be started: {reason}.")
    http, grpc = free_ports(2)
    log = scratch / "triton.log"
    command = [
        str(_binary()),
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={_backends(scratch / 'backends').resolve()}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--strict-readiness=true",
        f"--http-address={LOOPBACK}",
        f"--http-port={http}",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
        "--exit-timeout-secs=10",
        "--backend-config=python,shm-default-byte-size=4194304",
        "--backend-config=python,shm-growth-byte-size=4194304",
    ]
    with running(command, f"http://{LOOPBACK}:{http}/v2/health/ready", log, env=_environment()):
        yield Served(f"{LOOPBACK}:{http}", f"{LOOPBACK}:{grpc}", log)


def _packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def _home() -> Path:
    return _packages() / "pytriton" / "tritonserver"


def _binary() -> Path:
    return _home() / "bin" / "tritonserver"


def _backends(folder: Path) -> Path:
    """The folder of backends: Python's, with the stub of this Python, and those that stand in."""
    python = folder / "python"
    shutil.copytree(_home() / "backends" / "python", python)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = _home() / "python_backend_stubs" / version / STUB
    if not stub.is_file():
        raise EnvironmentMismatch(f"{PACKAGE} has no {STUB} for Python {version}: set it up with another Python.")
    shutil.copy(stub, python / STUB)
    for name in BACKENDS:
        (folder / name).mkdir()
        shutil.copy(Path(__file__).with_name("triton_model.py"), folder / name / "model.py")
    return folder


def _environment() -> dict[str, str]:
    """The variables with which the binary and its Python processes find their libraries and packages."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(_packages() / "nvidia_pytriton.libs")]
    libraries += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
    return os.environ | {
        "PYTHONPATH": str(_packages()),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
    }
