"""A PyTorch module as a function of named NumPy arrays, as every engine is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from visiondeploy.types import Array, Task


def forward(module: nn.Module, task: Task, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run `module` without gradients, on the device of its weights. Outputs have the task's names.

    Those of any floating type become float32.
    """
    device = next(module.parameters()).device
    with torch.inference_mode():
        found = module(*(torch.from_numpy(feeds[name]).to(device) for name in task.inputs))
    tensors: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
    return {name: _array(tensor) for name, tensor in zip(task.outputs, tensors, strict=True)}


def _array(tensor: Tensor) -> Array:
    found: Array = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    return found
