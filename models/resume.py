"""The state of interrupted work, as one safetensors file: written whole or not at all, and never a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come, and what it measured on the way."""

    step: int
    seconds: float
    history: list[dict[str, float]]


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs were writing beside `path`. Nobody else may be writing it now."""
    for left in path.parent.glob(f"{path.name}.*.tmp"):
        with suppress(OSError):
            left.unlink()


def write_state(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write tensors, and JSON beside them, to `path` atomically: a reader sees what was there before or all of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(
        {name: _plain(tensor) for name, tensor in tensors.items()},
        temporary,
        metadata={"progress": json.dumps(progress)},
    )
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def read_state(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """What `write_state` wrote; None where there is nothing, or nothing that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def save_resume(
    path: Path, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the state to `path` atomically: a reader sees the state before or this one, never a part."""
    tensors: dict[str, Tensor] = {}
    for prefix, part in (("module", module), ("average", average)):
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in part.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    write_state(path, tensors, {"step": progress.step, "seconds": progress.seconds, "history": progress.history})


def load_resume(path: Path, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Bring all three back to the saved state. None, with nothing changed, where there is no state that fits."""
    state = read_state(path)
    if state is None:
        return None
    tensors, progress = state
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}}
    states: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        if prefix == "optimizer":
            index, _, field = rest.partition(".")
            states.setdefault(int(index), {})[field] = tensor
        else:
            parts[prefix][rest] = tensor
    if parts["module"].keys() != module.state_dict().keys():
        return None
    module.load_state_dict(parts["module"])
    average.load_state_dict(parts["average"])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return Progress(**progress)


def _plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU in the default memory layout, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()
