"""A PyTorch module as a function of named NumPy arrays, as every engine is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from visiondeploy.types import Array, Task


def forward(module: nn.Module, task: Task, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run `module` without gradients, on the device of its weights. Outputs are float32, under the task's names."""
    device = next(module.parameters()).device
    with torch.inference_mode():
        found = module(*(torch.from_numpy(feeds[name]).to(device) for name in task.inputs))
    tensors: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
    return {name: tensor.float().cpu().numpy() for name, tensor in zip(task.outputs, tensors, strict=True)}
