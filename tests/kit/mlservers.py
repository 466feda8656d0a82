"""MLServer on a bundle, as a serving team starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.served import NAME
from visiondeploy.pipeline.bundle.mlserver import FOLDER
from visiondeploy.pipeline.serving.process import LOOPBACK, free_ports, running

SOURCES = Path(__file__).resolve().parents[2] / "src"


@dataclass(frozen=True)
class Served:
    """Where it listens."""

    http: str
    grpc: str


@contextmanager
def serving(bundle: Path, log: Path, ready: str = f"models/{NAME}/ready") -> Iterator[Served]:
    """MLServer on the folder that a bundle has for it. It calls itself ready also where its only model failed."""
    http, rpc, metrics = free_ports(3)
    settings = {"HOST": LOOPBACK, "HTTP_PORT": http, "GRPC_PORT": rpc, "METRICS_PORT": metrics, "PARALLEL_WORKERS": 0}
    env = os.environ | {f"MLSERVER_{name}": str(value) for name, value in settings.items()}
    env |= {"PYTHONPATH": str(SOURCES)}
    command = [str(Path(sys.executable).with_name("mlserver")), "start", str(bundle / FOLDER)]
    with running(command, f"http://{LOOPBACK}:{http}/v2/{ready}", log, env=env, cwd=log.parent):
        yield Served(f"{LOOPBACK}:{http}", f"{LOOPBACK}:{rpc}")
