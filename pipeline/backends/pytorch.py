"""Backend `pytorch`: the network itself, eager, fp32. It is the baseline of every comparison."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from visiondeploy.models.checkpoint import DESCRIPTION, WEIGHTS, load_network
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.pipeline.backends.inside import LayerTime
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session, TensorSpec

if TYPE_CHECKING:
    from torch import nn

    from visiondeploy.models.checkpoint import Network


class PyTorchBackend(HostBackend):
    """Eager PyTorch. Its engine is the checkpoint."""

    name = "pytorch"
    source: Source = "network"
    precisions = frozenset({Precision.FP32})
    scheme = None
    packages = ("torch",)

    def unavailable(self) -> str | None:
        """None where torch is installed."""
        return not_installed("torch")

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """The checkpoint is the engine."""
        for name in (WEIGHTS, DESCRIPTION):
            shutil.copyfile(source / name, folder / name)

    def load(self, folder: Path, threads: int) -> Session:
        """The network in eval mode, in PyTorch's default memory layout. Sets the process's thread count."""
        import torch

        torch.set_num_threads(threads)
        return PyTorchSession(load_network(folder))

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The convolutions and linear layers, by the type of their weights: eager PyTorch computes in it."""
        from torch import nn

        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        layers = [
            Layer(name, type(module).__name__, _type_name(module.weight.dtype), "cpu")
            for name, module in load_network(folder).module.named_modules()
            if isinstance(module, kinds)
        ]
        stored: dict[str, int] = {}
        for layer in layers:
            stored[layer.compute] = stored.get(layer.compute, 0) + 1
        return Realised(tuple(layers), stored)

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """The modules of the network by their paths, and the operators that they call besides, in fp32."""
        import torch

        from visiondeploy.models.forward import forward
        from visiondeploy.models.served import served
        from visiondeploy.pipeline.backends.torch_profile import module_times

        torch.set_num_threads(threads)
        network = load_network(folder)
        module, task = served(network), task_of(network.spec)
        prefix = "" if module is network.module else "network."
        accepted = Inputs(task.input_specs).accept(feeds)
        return module_times(module, lambda: forward(module, task, accepted), runs, prefix)


def _type_name(dtype: object) -> str:
    """`torch.float32` as "fp32"."""
    return str(dtype).removeprefix("torch.").replace("bfloat", "bf").replace("float", "fp")


def load_any_size(folder: Path, threads: int) -> Session:
    """As `PyTorchBackend.load`, of a checkpoint whose network takes images of any size, for images of any size."""
    import torch

    torch.set_num_threads(threads)
    return PyTorchSession(load_network(folder), any_size=True)


def _freed(spec: TensorSpec) -> TensorSpec:
    """The same tensor of any height and width."""
    batch, channels, *size = spec.shape
    return replace(spec, shape=(batch, channels, *("height", "width")[: len(size)]))


class PyTorchSession:
    """A network as a session, for its own size of images or, with float inputs, any."""

    def __init__(self, network: Network, *, any_size: bool = False) -> None:
        from visiondeploy.models.served import served

        self._module: nn.Module | None = served(network)
        self._task = task_of(network.spec)
        self.inputs, self.outputs = self._task.input_specs, self._task.output_specs
        if any_size:
            self.inputs, self.outputs = (tuple(map(_freed, specs)) for specs in (self.inputs, self.outputs))
        self._accept = Inputs(self.inputs).accept

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once."""
        from visiondeploy.models.forward import forward

        accepted = self._accept(feeds)
        if self._module is None:
            raise RuntimeError("the session is closed")
        return forward(self._module, self._task, accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._module = None
