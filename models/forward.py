"""A PyTorch module as a function of named NumPy arrays, as every engine is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from visiondeploy.types import Array, Watched


def forward(module: nn.Module, task: Watched, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run `module` without gradients, on the device of its weights. Outputs have the task's names.

    Those of any floating type become float32. On the CPU feeds are read where they lie, and outputs are arrays on
    PyTorch's own memory; a feed that is read-only is copied, as PyTorch has no such tensors.
    """
    device = next(module.parameters()).device
    writable = (np.require(feeds[name], requirements="W") for name in task.inputs)
    with torch.inference_mode():
        found = module(*(torch.from_numpy(feed).to(device) for feed in writable))
    tensors: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
    return {name: _array(tensor) for name, tensor in zip(task.outputs, tensors, strict=True)}


def _array(tensor: Tensor) -> Array:
    found: Array = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    return found
