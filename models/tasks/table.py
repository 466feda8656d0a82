"""The tasks that exist. A new one is one file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Callable

from visiondeploy.errors import unknown_name
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.types import Task

TASKS: dict[str, Callable[[NetworkSpec], Task]] = {
    "segmentation": Segmentation,
}


def task_of(spec: NetworkSpec) -> Task:
    """The task that a network is for. Raises `UsageError` for one that is not in the table."""
    if spec.task not in TASKS:
        raise unknown_name("task", spec.task, TASKS)
    return TASKS[spec.task](spec)
