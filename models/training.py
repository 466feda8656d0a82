"""Training on Accelerate: one process, or as many as `torchrun` starts.

What item i of the run is (which sample, which augmentation) depends on the seed and i alone, and the
learning rate on the step alone. So a run that was interrupted and resumed sees the same data as one
that was not, with any number of loader workers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Subset
from torch.utils.data import Dataset as TorchDataset

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import Network
from visiondeploy.models.forward import forward
from visiondeploy.models.monitor import Monitor
from visiondeploy.models.resume import Progress, load_resume, remove_leftovers, save_resume
from visiondeploy.models.settings import TrainSettings
from visiondeploy.types import Array, Sample, Split, Task, Watched

Report = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a few words ("loss 0.41 miou 0.52")."""


class Objective(Protocol):
    """What a task's training does with a sample and a batch."""

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]: ...

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]: ...

    def inputs(self, images: Tensor, truth: Tensor) -> tuple[Tensor, ...]: ...

    def loss(self, module: Callable[..., Tensor], images: Tensor, truth: Tensor) -> dict[str, Tensor]: ...

    def imitation(self, found: Tensor, taught: Tensor, temperature: float) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class TrainedModule:
    """A trained module, in eval mode on the CPU: the moving average of the weights that were stepped."""

    module: nn.Module
    history: list[dict[str, float]]
    seconds: float
    resumed_from: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network, as `TrainedModule`, with its description."""

    network: Network
    history: list[dict[str, float]]
    seconds: float
    resumed_from: int


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The rate at a step. `cosine` warms up over 1 % of the steps, `one-cycle` over 30 % (Smith and Topin 2017)."""
    share = 0.3 if settings.schedule == "one-cycle" else 0.01
    warm = max(1, round(settings.steps * share))
    if step < warm:
        return settings.learning_rate * (0.04 + 0.96 * (step + 1) / warm)
    done = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * (1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * done)))


class _Run(TorchDataset[tuple[Tensor, Tensor]]):
    """Every item of the run in order: epoch after epoch, each in a shuffled order of its own."""

    def __init__(self, split: Split, objective: Objective, seed: int, items: int) -> None:
        self.split, self.objective, self.seed, self.items = split, objective, seed, items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(index, len(self.split))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.split))
        seed = int(np.random.default_rng((self.seed, 1, index)).integers(2**31))
        return self.objective.item(self.split[int(order[place])], seed)


def train(
    network: Network,
    task: Task,
    objective: Objective,
    data: Split,
    validation: Split,
    settings: TrainSettings,
    work: Path,
    log: Path,
    report: Report,
) -> Trained:
    """Train a network as `train_module` does, and say so in its description."""
    found = train_module(network.module, task, objective, data, validation, settings, work, log, report)
    spec = network.spec.model_copy(update={"trained_steps": settings.steps})
    trained = replace(network, module=found.module, spec=spec)
    return Trained(trained, found.history, found.seconds, found.resumed_from)


def train_module(
    module: nn.Module,
    task: Watched,
    objective: Objective,
    data: Split,
    validation: Split,
    settings: TrainSettings,
    work: Path,
    log: Path,
    report: Report,
) -> TrainedModule:
    """Train until `settings.steps`, going on from `work` where an earlier run was interrupted.

    `work` is kept by the caller between runs; `log` receives TensorBoard events. Raises `InputError`
    where the loss stops being a number.
    """
    # What ran before in this process may have had another precision, of which Accelerate keeps one.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=_mixed_precision(settings), cpu=not torch.cuda.is_available())
    module.train()
    if settings.channels_last:
        module = module.to(memory_format=torch.channels_last)
    optimizer: Any = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    average = AveragedModel(module, avg_fn=_moving_average(settings.ema_decay), use_buffers=True)
    state = work / "resume.safetensors"
    if accelerator.is_main_process:
        remove_leftovers(state)
    progress = load_resume(state, module, average, optimizer) or Progress(0, 0.0, [])
    metric = task.metrics[0]
    first, history = progress.step, list(progress.history)
    step, began = first, time.monotonic() - progress.seconds

    per_step = settings.batch_size * accelerator.num_processes
    run = _Run(data, objective, settings.seed, settings.steps * per_step)
    workers = settings.workers if settings.workers is not None else _default_workers()
    loader: Any = DataLoader(Subset(run, range(first * per_step, len(run))), settings.batch_size, num_workers=workers)
    model, optimizer, loader = accelerator.prepare(module, optimizer, loader)
    average.to(accelerator.device)

    with Monitor(log if accelerator.is_main_process else None, first) as monitor:
        for batch in loader:
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images, truth = objective.prepare(batch, seed=settings.seed * 1_000_003 + step)
            terms = objective.loss(model, images, truth)
            accelerator.backward(terms["loss"])
            accelerator.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(module)
            step += 1
            losses = {name: float(term.detach()) for name, term in terms.items()}
            if not math.isfinite(losses["loss"]):
                raise InputError(
                    f"training: the loss is {losses['loss']} at step {step}; lower {settings.section}.learning_rate "
                    f"(it was {settings.learning_rate:g}) or look at the data."
                )
            monitor.scalars(step, "train", {**losses, "learning_rate": rate})
            if accelerator.is_main_process and _due(step, settings.validate_every, settings.steps):
                scores = validate(average.module, task, validation, settings.validate_images)
                history.append({"step": step, "loss": losses["loss"], metric.name: metric.value(scores)})
                monitor.scalars(step, "validation", {metric.name: history[-1][metric.name]})
                monitor.pictures(step, average.module, task, [validation[i] for i in range(min(3, len(validation)))])
            best = f" {metric.name} {history[-1][metric.name]:.3f}" if history else ""
            report(step, settings.steps, f"loss {losses['loss']:.3f}{best}")
            if accelerator.is_main_process and _due(step, settings.save_every, settings.steps):
                save_resume(state, module, average, optimizer, Progress(step, time.monotonic() - began, history))
    accelerator.wait_for_everyone()
    trained = average.module.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return TrainedModule(trained, history, time.monotonic() - began, first)


def validate(module: nn.Module, task: Watched, split: Split, limit: int | None = None) -> Array:
    """The task's statistics for the first `limit` samples of a split (all for None), one row each."""
    was_training = module.training
    module.eval()
    rows = []
    for index in range(min(len(split), limit or len(split))):
        sample = split[index]
        rows.append(task.score(forward(module, task, task.preprocess([sample])), [sample]))
    module.train(was_training)
    return np.concatenate(rows)


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """EMA whose decay grows from 1/10 to `decay`, so that a short run is not left at its first weights."""

    def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        return old.lerp(new.to(old.dtype), 1 - share) if old.is_floating_point() else new

    return average


def _mixed_precision(settings: TrainSettings) -> str:
    """`auto` is bfloat16 or float16 on a GPU; on CPUs without matrix units half precision is slower than single."""
    if settings.mixed_precision != "auto":
        return settings.mixed_precision
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _default_workers() -> int:
    """On the CPU the training itself keeps every core busy; workers would only take them away."""
    return min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0
