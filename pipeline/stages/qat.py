"""Stage `qat`: a network fine-tuned for int8, with fake quantisation and with itself in float as the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.models.settings import AugmentSettings, DistilSettings, QatSettings
from visiondeploy.pipeline.stages import train
from visiondeploy.types import Dataset

if TYPE_CHECKING:
    from visiondeploy.models.training import Report

# 1: moving averages of extremes; divergence from the float network and the task's loss
# 2: branches of a concat are rounded behind it
# 3: in codes are borders, too; sums with an instance norm are not
VERSION = 3
TOOLS = train.TOOLS


def tune(
    checkpoint: Path,
    dataset: Dataset,
    splits: tuple[str, str],
    settings: QatSettings,
    augment: AugmentSettings,
    weight_bits: int,
    symmetric: bool,
    threads: int,
    work: Path,
    folder: Path | None,
    report: Report,
) -> dict[str, Any]:
    """Fine-tune the network in `checkpoint` for weights of so many bits and, on request, symmetric activations.

    Writes the checkpoint, a plain network of the same architecture, whose `trained_steps` count these steps too, and
    TensorBoard's events, in which the metric is that of the network with fake quantisation. The rest is as in stage
    `train`: it raises, resumes and runs in several processes alike.
    """
    from visiondeploy.models.checkpoint import Network, load_network, save_network
    from visiondeploy.models.distilled import DistilledObjective
    from visiondeploy.models.qat import FakeQuantised
    from visiondeploy.models.tasks.table import objective_of

    train.use_threads(threads)
    network = load_network(checkpoint)
    spec = network.spec
    task_objective = objective_of(spec, dataset, settings, augment, needs_labels=settings.task_weight > 0)
    # Fake quantisation changes no layer's place: its logits say enough of what it does.
    taught = DistilSettings(temperature=settings.temperature, features=0, affinity=0, task_weight=settings.task_weight)
    objective = DistilledObjective(task_objective, network.module, taught)
    size = (spec.input.height, spec.input.width)
    module = FakeQuantised(network.module, size, weight_bits, settings.tracked, symmetric)
    trained = train.learn(Network(module, spec), objective, dataset, splits, settings, work, folder, report)
    tuned = trained.network.module
    assert isinstance(tuned, FakeQuantised)
    if folder is not None:
        steps = spec.trained_steps + settings.steps
        save_network(Network(tuned.network, spec.model_copy(update={"trained_steps": steps})), folder)
    return train.found(tuned.network, settings.steps, trained) | {"weight_bits": weight_bits, "symmetric": symmetric}


def notes(settings: QatSettings) -> tuple[str, ...]:
    """What a row of a report says of an engine that was made after this stage, if it was."""
    return (f"fine-tuned for int8 with {settings.steps} steps (QAT)",) if settings.steps else ()
