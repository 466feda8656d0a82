"""Backend `torchscript`: a frozen TorchScript module, for teams that embed libtorch."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.base import HostBackend, Source, not_installed
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.pipeline.backends.inside import LayerTime
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Array, Layer, Precision, Realised, Session, TensorSpec

MODEL = "model.pt"
SIGNATURE = "signature.json"
CONVOLUTIONS = ("aten::conv2d", "aten::conv_transpose2d", "aten::_convolution", "aten::linear")


class TorchScriptBackend(HostBackend):
    """TorchScript on the CPU, fp32."""

    name = "torchscript"
    source: Source = "torchscript"
    precisions = frozenset({Precision.FP32})
    scheme = None
    packages = ("torch",)

    def unavailable(self) -> str | None:
        """None where torch is installed."""
        return not_installed("torch")

    def compile(self, source: Path, folder: Path, settings: EngineSettings = PLAIN) -> None:
        """The exported file is the engine: freezing is quick and done when it is loaded."""
        for name in (MODEL, SIGNATURE):
            shutil.copyfile(source / name, folder / name)

    def load(self, folder: Path, threads: int) -> Session:
        """The module, frozen: constants folded, batch norm folded into the convolutions."""
        import torch

        torch.set_num_threads(threads)
        module = _load(folder / MODEL)
        names = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
        return TorchScriptSession(module, [_tensor(v) for v in names["inputs"]], [_tensor(v) for v in names["outputs"]])

    def realised(self, folder: Path, threads: int, feeds: Mapping[str, Array]) -> Realised:
        """The convolution and linear calls of the frozen graph."""
        graph = _load(folder / MODEL).inlined_graph
        layers = [
            Layer(f"{kind}.{number}", kind.removeprefix("aten::"), "fp32", "cpu")
            for kind in CONVOLUTIONS
            for number, _ in enumerate(graph.findAllNodes(kind))
        ]
        return Realised(tuple(layers), {"fp32": len(layers)})

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """The operators of the frozen graph, those with weights under the paths of their modules."""
        import torch

        from visiondeploy.pipeline.backends.torch_profile import graph_times

        torch.set_num_threads(threads)
        module = _load(folder / MODEL)
        names = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
        inputs, outputs = ([_tensor(value) for value in names[side]] for side in ("inputs", "outputs"))
        with TorchScriptSession(module, inputs, outputs) as session:
            return graph_times(module.inlined_graph, lambda: session.infer(feeds), runs)


def _load(path: Path) -> Any:
    import torch

    with warnings.catch_warnings():
        # TorchScript is deprecated in favour of torch.export; it is what was asked for, and it works.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.freeze(torch.jit.load(str(path), map_location="cpu").eval())  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{path} is not a TorchScript file that loads: {reason}. Build it anew.") from None


def _tensor(found: dict[str, Any]) -> TensorSpec:
    return TensorSpec(found["name"], found["dtype"], tuple(found["shape"]))


class TorchScriptSession:
    """A frozen module as a session."""

    def __init__(self, module: Any, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        self._module = module
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._accept = Inputs(self.inputs).accept

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once."""
        import torch

        # PyTorch has no read-only tensors: such feeds are copied, others read where they lie.
        writable = (np.require(feed, requirements="W") for feed in self._accept(feeds).values())
        if self._module is None:
            raise RuntimeError("the session is closed")
        with torch.inference_mode():
            found = self._module(*map(torch.from_numpy, writable))
        tensors = found if isinstance(found, tuple) else (found,)
        return {spec.name: tensor.numpy() for spec, tensor in zip(self.outputs, tensors, strict=True)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._module = None
