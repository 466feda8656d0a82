"""The tasks that exist. A new one is one file in this folder and one line here.

A task has a form for each kind of input and output that its graphs can have; one that takes raw images names its
`ending`, which `models/served.py` knows for PyTorch and `pipeline/stages/wrap.py` for ONNX. Its objective is what
training needs of it, and is imported on first use, as it needs torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import Io, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.models.tasks.segmentation_bytes import SegmentationBytes
from visiondeploy.models.tasks.style import Style
from visiondeploy.models.tasks.style_bytes import StyleBytes
from visiondeploy.models.tasks.style_graph import StyleGraph
from visiondeploy.types import Dataset, Task

if TYPE_CHECKING:
    from visiondeploy.models.training import Objective


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """The forms of a task by what its graphs take and give, and the module whose `objective` trains it.

    A `styled` task is judged by paintings, and has no use for the classes of a data set. `graph` is the form for ONNX
    files of somebody else, None where a task has none.
    """

    forms: Mapping[Io, Callable[[NetworkSpec], Task]]
    objective: str
    styled: bool = False
    graph: Callable[[NetworkSpec], Task] | None = None


TASKS: dict[str, TaskEntry] = {
    "segmentation": TaskEntry(
        {"float32": Segmentation, "uint8": SegmentationBytes}, "visiondeploy.models.tasks.segmentation_objective"
    ),
    "style": TaskEntry(
        {"float32": Style, "uint8": StyleBytes},
        "visiondeploy.models.tasks.style_objective",
        styled=True,
        graph=StyleGraph,
    ),
}


def task_entry(name: str) -> TaskEntry:
    """The entry of that name. Raises `UsageError` for one that is not in the table."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def task_of(spec: NetworkSpec) -> Task:
    """The task that a network is for, in the form of its inputs and outputs.

    Raises `UsageError` for one that is not in the table, or that has no such form.
    """
    if spec.graph is not None:
        return graph_form(spec.task)(spec)
    forms = task_entry(spec.task).forms
    if spec.io not in forms:
        raise UsageError(f"task {spec.task} has no graphs with {spec.io}: set export.io to {' or '.join(forms)}.")
    return forms[spec.io](spec)


def graph_form(name: str) -> Callable[[NetworkSpec], Task]:
    """The form of a task for ONNX files of somebody else. Raises `UsageError` where it has none."""
    form = task_entry(name).graph
    if form is None:
        known = ", ".join(task for task, entry in TASKS.items() if entry.graph is not None)
        raise UsageError(f"ONNX files of others are built for {known} so far, not for {name}: give --task {known}.")
    return form


def objective_of(
    spec: NetworkSpec, dataset: Dataset, settings: TrainSettings, augment: AugmentSettings, *, needs_labels: bool = True
) -> Objective:
    """What trains a network on a data set. Unless it `needs_labels`, it makes do with images that have no truth."""
    module = importlib.import_module(task_entry(spec.task).objective)
    made: Objective = module.objective(spec, dataset, settings, augment, needs_labels)
    return made
