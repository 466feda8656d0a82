"""The tasks that exist. A new one is one file in this folder and one line here.

A task has a form for each kind of input and output that its graphs can have; one that takes raw images names its
`ending`, which `models/served.py` knows for PyTorch and `pipeline/stages/wrap.py` for ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.models.spec import Io, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.models.tasks.segmentation_bytes import SegmentationBytes
from visiondeploy.types import Task

TASKS: dict[str, Mapping[Io, Callable[[NetworkSpec], Task]]] = {
    "segmentation": {"float32": Segmentation, "uint8": SegmentationBytes},
}


def task_of(spec: NetworkSpec) -> Task:
    """The task that a network is for, in the form of its inputs and outputs.

    Raises `UsageError` for one that is not in the table, or that has no such form.
    """
    if spec.task not in TASKS:
        raise unknown_name("task", spec.task, TASKS)
    forms = TASKS[spec.task]
    if spec.io not in forms:
        raise UsageError(f"task {spec.task} has no graphs with {spec.io}: set export.io to {' or '.join(forms)}.")
    return forms[spec.io](spec)
