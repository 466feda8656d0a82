"""Stage `compress`: one change of a network's architecture, chosen by a budget; `finetune` follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.models.settings import AugmentSettings, FinetuneSettings
from visiondeploy.pipeline.stages import train
from visiondeploy.types import Dataset

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visiondeploy.models.checkpoint import Network
    from visiondeploy.models.compression.budget import Kind
    from visiondeploy.models.compression.changes import Change
    from visiondeploy.models.compression.settings import CompressSettings, Step
    from visiondeploy.models.compression.shapes import LayerShape
    from visiondeploy.models.compression.structure import Cost
    from visiondeploy.models.training import Report

# 1: greedy allocation on Torch-Pruning's groups; first term of network decoupling; batch norm's statistics anew
# 2: layers are replaced before channels are removed; no batch of a single image
VERSION = 2
# 3: parameters, arithmetic, layers, and the shapes to time with the names of their layers
SIZES_VERSION = 3
TOOLS = (*train.TOOLS, "torch-pruning")


@dataclass(frozen=True, slots=True)
class Aim:
    """What a step may cost in the end: parameters, MACs or, by the table of times, milliseconds."""

    kind: Kind
    limit: float
    times: tuple[tuple[str, LayerShape, float], ...] = ()

    def cost(self) -> Cost:
        """How that is counted."""
        from visiondeploy.models.compression.latency_table import LatencyTable
        from visiondeploy.models.compression.structure import Macs, Parameters

        if self.kind == "latency":
            return LatencyTable(self.times)
        return Parameters() if self.kind == "params" else Macs()


def size_up(checkpoint: Path, settings: CompressSettings, multiple: int) -> dict[str, Any]:
    """What a network costs, and the shapes of its layers that a table of times needs for any allocation."""
    from visiondeploy.models.checkpoint import load_network
    from visiondeploy.models.compression.latency_table import shapes_to_time
    from visiondeploy.models.compression.steps import open_structure

    network = load_network(checkpoint)
    structure = open_structure(network.module, (network.spec.input.height, network.spec.input.width), settings)
    separable = "separable" in settings.steps
    return _costs(network) | {
        "shapes": [[name, s.as_json()] for name, s in shapes_to_time(structure, multiple, separable=separable)],
    }


def compress(
    checkpoint: Path,
    step: Step,
    aim: Aim | None,
    dataset: Dataset,
    splits: tuple[str, str],
    settings: CompressSettings,
    finetune: FinetuneSettings,
    augment: AugmentSettings,
    multiple: int,
    threads: int,
    folder: Path,
    report: Report,
) -> dict[str, Any]:
    """Change the network in `checkpoint` and write the result, its weights not tuned; what was changed and its metric.

    `aim` is what the network may cost after this step (for "separable", what it may after the pruning that follows);
    None replaces all that can be. Raises `GateFailed` where it cannot be held.
    """
    import torch

    from visiondeploy.models.checkpoint import Network, load_network, save_network
    from visiondeploy.models.compression import steps
    from visiondeploy.models.tasks.table import objective_of, task_of
    from visiondeploy.models.training import validate

    train.use_threads(threads)
    torch.manual_seed(settings.seed)
    network = load_network(checkpoint)
    spec, module = network.spec, network.module
    size = (spec.input.height, spec.input.width)
    objective = objective_of(spec, dataset, finetune, augment)
    batches = _batches(objective, dataset, splits[0], settings, finetune.batch_size, report)

    def loss(module: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        return objective.loss(module, images, masks)["loss"]

    cost, limit = (aim.cost(), aim.limit) if aim else (None, 0.0)
    change: Change | None
    if step == "separable":
        change = steps.replace_layers(module, size, settings, cost, limit, multiple)
    else:
        assert cost is not None
        change = steps.remove_channels(module, size, settings, cost, limit, multiple, batches, loss)
    steps.set_statistics(module, batches)
    task, validation = task_of(spec), dataset.split(splits[1])
    metric = task.metrics[0]
    report(len(batches), len(batches), f"{metric.name} of the changed network")
    value = metric.value(validate(module, task, validation, finetune.validate_images))
    changes = (*spec.changes, *((change,) if change else ()))
    made = Network(module, spec.model_copy(update={"changes": changes}))
    save_network(made, folder)
    return _costs(made) | {"steps": spec.trained_steps, "metric": {metric.name: value}, "changed": _changed(change)}


def tune(
    checkpoint: Path,
    teacher: Path,
    dataset: Dataset,
    splits: tuple[str, str],
    settings: FinetuneSettings,
    augment: AugmentSettings,
    threads: int,
    work: Path,
    folder: Path | None,
    report: Report,
) -> dict[str, Any]:
    """Fine-tune the network in `checkpoint`; with `settings.teach` it learns from the network in `teacher` too.

    Writes the checkpoint, whose `trained_steps` count these steps too, and TensorBoard's events. The rest is as in
    stage `train`: it raises, resumes and runs in several processes alike.
    """
    from visiondeploy.models.checkpoint import Network, load_network, save_network
    from visiondeploy.models.distilled import DistilledObjective
    from visiondeploy.models.tasks.table import objective_of

    train.use_threads(threads)
    network = load_network(checkpoint)
    spec = network.spec
    needs_labels = not settings.teach or settings.distil.task_weight > 0
    objective = objective_of(spec, dataset, settings, augment, needs_labels=needs_labels)
    if settings.teach:
        objective = DistilledObjective(objective, load_network(teacher).module, settings.distil, network.module)
    trained = train.learn(network, objective, dataset, splits, settings, work, folder, report)
    tuned = trained.network.module
    if folder is not None:
        steps = spec.trained_steps + settings.steps
        save_network(Network(tuned, spec.model_copy(update={"trained_steps": steps})), folder)
    return train.found(tuned, settings.steps, trained) | {"metric": _last(trained.history)}


def _batches(
    objective: Any, dataset: Dataset, name: str, settings: CompressSettings, batch_size: int, report: Report
) -> list[tuple[Tensor, Tensor]]:
    """Images spread over the training split, as training sees them, with masks."""
    import numpy as np
    import torch

    from visiondeploy.benchmarks.accuracy import chosen

    split = dataset.split(name)
    indices = chosen(len(split), settings.images)
    items = []
    for number, index in enumerate(indices):
        items.append(objective.item(split[index], settings.seed + number))
        report(number + 1, len(indices), "training images read")
    # None of a single image, where there are more: batch norm of one value has no variance.
    count = max(1, len(items) // batch_size)
    found = []
    for part in np.array_split(np.arange(len(items)), count):
        images, masks = zip(*(items[index] for index in part), strict=True)
        found.append(objective.prepare((torch.stack(images), torch.stack(masks)), settings.seed + int(part[0])))
    return found


def _costs(network: Network) -> dict[str, Any]:
    """Parameters and MACs of a network, as a whole and by layer."""
    from visiondeploy.models.compression.structure import layers_of

    shapes = layers_of(network.module, (network.spec.input.height, network.spec.input.width))
    return {
        "parameters": sum(parameter.numel() for parameter in network.module.parameters()),
        "macs": sum(shape.macs for shape in shapes.values()),
        # In the order in which they run, which the store would not keep of a mapping.
        "layers": [[name, shape.as_json()] for name, shape in shapes.items()],
    }


def _changed(change: Change | None) -> str:
    """A change in a few words; empty where nothing was changed."""
    if change is None:
        return ""
    if change.kind == "separable":
        return f"{len(change.layers)} layers separable"
    count = sum(map(len, change.removed.values()))
    return f"{count} channels removed behind {len(change.removed)} layers"


def _last(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The metric at the end of a training."""
    return {name: value for name, value in history[-1].items() if name not in {"step", "loss"}} if history else {}
