"""The peers' ways to quantise an fp32 ONNX file, each as its own documentation has it; and what they are tried on.

ort-default           `quant_pre_process`, then `quantize_static` with every argument left as it is
ort-advised           the same with uint8 activations and int8 weights by channel, the weights in 7 bits
                      (`reduce_range`) where the CPU has no VNNI, as ONNX Runtime's documentation advises for CPUs
nncf                  `nncf.quantize` with every argument left as it is: of the ONNX file for ONNX Runtime, of the
                      OpenVINO model for OpenVINO. It lives in an environment of its own, which is made on demand
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiondeploy.benchmarks.environment import has_vnni
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.pipeline.backends import openvino_session
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.store import tool_versions
from visiondeploy.types import Array

if TYPE_CHECKING:
    from torch import nn

ONNX = "model.onnx"
STATISTICS_IMAGES, STATISTICS_BATCH = 16, 4

Feeds = Sequence[Mapping[str, Array]]
Make = Callable[[Path, Feeds, Path], None]
"""Quantises what lies in the folder of the fp32 ONNX file on the calibration feeds, and fills a folder."""


@dataclass(frozen=True)
class Peer:
    """A quantised model of a peer, and the backends that are to run it.

    `arguments` are those that are not left as they are; `tools` gives the versions that decide what is made, and
    raises where they cannot be had. `is_engine` is for what a backend loads as it is, without compiling it.
    """

    name: str
    backends: tuple[str, ...]
    make: Make
    tools: Callable[[], Mapping[str, str]]
    arguments: Mapping[str, bool | str] = field(default_factory=dict)
    is_engine: bool = False


def peers(nncf: Nncf) -> tuple[Peer, ...]:
    """All of them, in the order of the table."""
    advised: dict[str, bool | str] = {
        "activation_type": "QUInt8",
        "weight_type": "QInt8",
        "per_channel": True,
        "reduce_range": not has_vnni(),
    }
    of_onnxruntime = partial(tool_versions, "onnxruntime", "onnx")
    both = ("openvino", "onnxruntime")
    return (
        Peer("ort-default", both, partial(quantize_static, {}), of_onnxruntime),
        Peer("ort-advised", both, partial(quantize_static, advised), of_onnxruntime, advised),
        Peer("nncf", ("openvino",), nncf.of_openvino, nncf.versions, is_engine=True),
        Peer("nncf", ("onnxruntime",), nncf.of_onnx, nncf.versions),
    )


def quantize_static(arguments: Mapping[str, bool | str], source: Path, feeds: Feeds, folder: Path) -> None:
    """ONNX Runtime's own, after its recommended preprocessing."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType
    from onnxruntime.quantization import quantize_static as quantize
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The feeds one after the other, then None."""

        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Any:
            return next(self._left, None)

    given = {name: QuantType[value] if isinstance(value, str) else value for name, value in arguments.items()}
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        ready = Path(temporary) / ONNX
        quant_pre_process(source / ONNX, ready)
        quantize(ready, folder / ONNX, Reader(), **given)


@dataclass(frozen=True)
class Nncf:
    """NNCF in an environment below `folder`, with the runtimes in the versions that are installed here."""

    folder: Path

    @cached_property
    def python(self) -> Path:
        """The environment's interpreter; the environment is made where it is not there whole.

        Raises `subprocess.CalledProcessError`, whose output says why the installation failed.
        """
        wanted = [f"{name}=={version}" for name, version in tool_versions("openvino", "onnx", "onnxruntime").items()]
        place = self.folder.absolute() / "-".join(["nncf", *wanted]).replace("==", "-")
        python, mark = place / "bin" / "python", place / "complete"
        if not mark.exists():
            shutil.rmtree(place, ignore_errors=True)
            run(sys.executable, "-m", "venv", place)
            run(python, "-m", "pip", "install", "--quiet", "nncf", *wanted)
            mark.touch()
        return python

    def versions(self) -> Mapping[str, str]:
        """Of NNCF and of the runtimes that it reads models with. Raises as `python`."""
        code = "from importlib.metadata import version; print(version('nncf'))"
        return {"nncf": run(self.python, "-c", code).strip(), **tool_versions("openvino", "onnx", "onnxruntime")}

    def known_versions(self) -> dict[str, str]:
        """NNCF's version for a report; nothing where it could not be installed."""
        try:
            return {"nncf": self.versions()["nncf"]}
        except (OSError, subprocess.CalledProcessError):
            return {}

    def of_onnx(self, source: Path, feeds: Feeds, folder: Path) -> None:
        """The ONNX file, quantised."""
        self._quantise("onnx", source / ONNX, feeds, folder / ONNX)

    def of_openvino(self, source: Path, feeds: Feeds, folder: Path) -> None:
        """The engine that our backend makes of the ONNX file in fp32, quantised."""
        with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
            BACKENDS["openvino"].compile(source, Path(temporary))
            self._quantise("openvino", Path(temporary) / openvino_session.MODEL, feeds, folder / openvino_session.MODEL)
            described = json.loads((Path(temporary) / openvino_session.DESCRIPTION).read_text(encoding="utf-8"))
        # The types that weights are stored in were those of the fp32 model.
        (folder / openvino_session.DESCRIPTION).write_text(json.dumps(described | {"stored": {}}), encoding="utf-8")

    def _quantise(self, kind: str, model: Path, feeds: Feeds, target: Path) -> None:
        script = Path(__file__).with_name("peers_nncf.py")
        with _saved(feeds) as path:
            run(self.python, script, kind, model, path, target)


@contextmanager
def _saved(feeds: Feeds) -> Iterator[Path]:
    """The feeds as one file that another process reads."""
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        path = Path(temporary) / "feeds.npz"
        np.savez(
            path, allow_pickle=False, **{name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        )
        yield path


def run(*command: str | Path) -> str:
    """What a command prints. Raises `subprocess.CalledProcessError`, with what it said on stderr."""
    # NNCF reports its use to its makers unless this says that nobody is there.
    variables = {**os.environ, "CI": "true"}
    variables.pop("PYTHONPATH", None)
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout


def random_network(spec: NetworkSpec, feeds: Feeds, folder: Path) -> dict[str, int]:
    """Write a checkpoint with random weights whose batch norms have the statistics of the feeds."""
    from visiondeploy.models.checkpoint import new_network, save_network

    network = new_network(spec, seed=0)
    chosen = feeds[:STATISTICS_IMAGES]
    gather_statistics(network.module, chosen)
    save_network(network, folder)
    return {"images": len(chosen)}


def gather_statistics(module: nn.Module, feeds: Feeds) -> None:
    """Give each batch norm the mean of its statistics over batches of the feeds. `module` ends in eval mode.

    Nothing else is in training mode: dropout passes all. A last batch of a single image is left out, as some batch
    norms see one value of each image.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [layer for layer in module.eval().modules() if isinstance(layer, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    for start in range(0, len(feeds), STATISTICS_BATCH):
        batch = feeds[start : start + STATISTICS_BATCH]
        if len(batch) > 1:
            joined = [np.concatenate([feed[name] for feed in batch]) for name in batch[0]]
            with torch.inference_mode():
                module(*map(torch.from_numpy, joined))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
