"""The contract of a bundle as what turns an image into feeds, and outputs into a picture or a map of classes.

It is the task's own code that does both, so that an embedded engine sees the pixels that the measured one saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from visiondeploy.errors import UsageError
from visiondeploy.models.spec import InputSpec, NetworkSpec, StyleSpec
from visiondeploy.models.table import NETWORKS
from visiondeploy.models.tasks.style import WEIGHTS
from visiondeploy.models.tasks.table import task_entry, task_of
from visiondeploy.pipeline.bundle.manifest import Contract
from visiondeploy.types import Array, Image, Sample, Task

Infer = Callable[[Mapping[str, Array]], dict[str, Array]]

SECONDS = frozenset(entry.second for entry in NETWORKS.values() if entry.second is not None)
"""The names of inputs beside the image."""

_UNKNOWN = "unknown"
"""Stands where a description of a network has what no preprocessing depends on."""


@dataclass(frozen=True, slots=True)
class Imaging:
    """How images of any size are run. `styles` is the number of those that the network is told, 1 where it is not."""

    task: Task
    styles: int

    def run(self, infer: Infer, image: Image, style: int) -> Image:
        """The class of each pixel H×W uint8, or a picture H×W×3 uint8. Raises `UsageError`."""
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise UsageError(f"an image is a NumPy array, height×width×3 uint8 RGB, found {found}: convert it.")
        if not image.size:
            raise UsageError(f"an image has at least one pixel, found the shape {image.shape}.")
        if not 0 <= style < self.styles:
            raise UsageError(f"there is no style {style}: choose one of 0 to {self.styles - 1}.")
        sample = Sample("image", np.ascontiguousarray(image), None, style)
        outputs = infer(self.task.preprocess([sample]))
        classes = self.task.classes(sample, outputs)
        return self.task.picture(sample, outputs) if classes is None else classes


def imaging_of(contract: Contract) -> Imaging:
    """How a contract has images run. Raises `UsageError` where it does not say so."""
    told = contract.preprocessing
    if told is None:
        raise UsageError(
            "the contract has no preprocessing, as of an ONNX file of somebody else: call `infer` with its inputs."
        )
    second = next((tensor.name for tensor in contract.inputs if tensor.name in SECONDS), None)
    like = [name for name, entry in NETWORKS.items() if entry.task == contract.task and entry.second == second]
    if not like:
        raise UsageError(f"no network for {contract.task} has an input {second!r}: call `infer` with the inputs.")
    styled = task_entry(contract.task).styled
    spec = NetworkSpec(
        architecture=like[0],
        task=contract.task,
        classes=contract.classes,
        palette=contract.palette or ((0, 0, 0),) * len(contract.classes),
        ignore_index=255 if contract.ignore_index is None else contract.ignore_index,
        style=_style(contract) if styled else None,
        input=InputSpec(height=told.height, width=told.width, mean=told.mean, std=told.std),
        io="uint8" if told.done else "float32",
    )
    return Imaging(task_of(spec), len(contract.styles) if second == WEIGHTS else 1)


def _style(contract: Contract) -> StyleSpec:
    return StyleSpec(names=contract.styles or (_UNKNOWN,), digests=(), features=_UNKNOWN, weights=None, size=32)
