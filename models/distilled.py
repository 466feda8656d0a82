"""Learning from another network of the same task: what it gives is the target, beside the labels or without them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from visiondeploy.models.losses import distillation_loss
from visiondeploy.models.training import Objective
from visiondeploy.types import Sample


class DistilledObjective:
    """An objective with a teacher: the divergence from its classes, and the objective's own loss with a weight.

    The teacher gives logits N×classes×H×W for what the objective prepares, as the network that is trained does. It
    is a copy, in eval mode; with `task_weight` 0 the objective's own loss is left out.
    """

    def __init__(self, objective: Objective, teacher: nn.Module, temperature: float, task_weight: float) -> None:
        self.objective = objective
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.temperature = temperature
        self.task_weight = task_weight

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """As the objective's."""
        return self.objective.item(sample, seed)

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """As the objective's."""
        return self.objective.prepare(batch, seed)

    def loss(self, module: Callable[[Tensor], Tensor], images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is their sum."""
        logits = module(images).float()
        with torch.no_grad():
            taught = self.teacher.to(images.device)(images).float()
        terms = {"distillation": distillation_loss(logits, taught, self.temperature)}
        if self.task_weight:
            # The module has run already: one pass serves both.
            own = self.objective.loss(lambda _: logits, images, masks)
            terms |= {name: self.task_weight * term for name, term in own.items() if name != "loss"}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}
