"""Stage `train`: data to a network; and `load`, a checkpoint to a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import InputError
from visiondeploy.models.launch import launched
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.types import Dataset, Split

if TYPE_CHECKING:
    from torch import nn

    from visiondeploy.models.checkpoint import Network
    from visiondeploy.models.training import Objective, Report, Trained

# 1: AdamW, EMA, cross entropy and Dice
# 2: crops at the scale of the network's input; as many threads as the recipe says
# 3: style networks, of which each layer's style pulls alike
VERSION = 3
TOOLS = ("torch", "torchvision", "accelerate", "pillow")


def train(
    spec: NetworkSpec,
    start: str | None,
    dataset: Dataset,
    splits: tuple[str, str],
    settings: TrainSettings,
    augment: AugmentSettings,
    threads: int,
    work: Path,
    folder: Path | None,
    report: Report,
) -> dict[str, Any]:
    """Train on the first split, validate on the second, and write the checkpoint and TensorBoard's events.

    Every validation sample is read once before, so that a damaged one is found in seconds and not after the
    training. Raises `InputError` for such a one, and where none of those that are validated on has a labelled
    pixel. The weights begin as in the checkpoint `start`, whose steps then count too, or random where it is None; with
    `settings.steps` 0 they stay so. An interrupted run goes on from `work`. `threads` are for a process that
    `torchrun` did not start. `folder` is None in the processes of a distributed run that only help the first one and
    write nothing.
    """
    from visiondeploy.models.checkpoint import Network, load_network, new_network, save_network
    from visiondeploy.models.tasks.table import objective_of

    use_threads(threads)
    network, before = new_network(spec, settings.seed), 0
    if start is not None:
        taught = load_network(Path(start))
        network, before = Network(taught.module, spec), taught.spec.trained_steps
    trained = None
    if settings.steps:
        objective = objective_of(spec, dataset, settings, augment)
        trained = learn(network, objective, dataset, splits, settings, work, folder, report)
        network = trained.network
    steps = before + settings.steps
    if folder is not None:
        save_network(Network(network.module, spec.model_copy(update={"trained_steps": steps})), folder)
    return found(network.module, steps, trained)


def use_threads(threads: int) -> None:
    """As many threads as the recipe says, but where torchrun has shared the cores out among its processes."""
    import torch

    if launched().count == 1:
        torch.set_num_threads(threads)


def learn(
    network: Network,
    objective: Objective,
    dataset: Dataset,
    splits: tuple[str, str],
    settings: TrainSettings,
    work: Path,
    folder: Path | None,
    report: Report,
) -> Trained:
    """Run the training loop, and leave its TensorBoard events in `folder`; see `train`."""
    from visiondeploy.models.tasks.table import task_of
    from visiondeploy.models.training import train as run

    spec, validation = network.spec, dataset.split(splits[1])
    if folder is not None:
        _check_validation(validation, settings.validate_images, spec.ignore_index, report)
    trained = run(
        network,
        task_of(spec),
        objective,
        dataset.split(splits[0]),
        validation,
        settings,
        work,
        work / "tensorboard",
        report,
    )
    if folder is not None:
        shutil.copytree(work / "tensorboard", folder / "tensorboard")
    return trained


def _check_validation(split: Split, limit: int | None, ignore_index: int, report: Report) -> None:
    """Read the whole split, of which later stages use more than the first `limit` samples."""
    labelled = False
    for index in range(len(split)):
        target = split[index].target
        if limit is None or index < limit:
            labelled = labelled or (target is not None and bool((target != ignore_index).any()))
        report(index + 1, len(split), "validation images checked")
    if not labelled:
        raise InputError(
            f"the split '{split.name}' has no labelled pixel in the images to validate on: all are {ignore_index}, "
            "the ignore_index; correct its masks or name another split with data.val."
        )


def load(checkpoint: Path, spec: NetworkSpec, folder: Path) -> dict[str, Any]:
    """Take a checkpoint over, with the input size of `spec`. Raises `InputError` where it does not load."""
    from visiondeploy.models.checkpoint import Network, load_network, save_network

    network = load_network(checkpoint)
    save_network(Network(network.module, spec), folder)
    return found(network.module, spec.trained_steps)


def found(module: nn.Module, steps: int, trained: Trained | None = None) -> dict[str, Any]:
    """What is recorded of a network; `seconds` counts those of interrupted runs that were gone on from."""
    return {
        "steps": steps,
        "seconds": round(trained.seconds, 1) if trained else 0.0,
        "history": trained.history if trained else [],
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
