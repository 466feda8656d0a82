"""Learning from another network of the same task: what it gives is the target, beside the labels or without them.

The classes' distributions are compared (Hinton et al. 2015) and, where the student's modules have the teacher's names,
features on the way to them: where the networks look (Zagoruyko and Komodakis 2017), and which positions they find
alike (Liu et al. 2019). None of it depends on the number of channels, so that the student may have fewer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from visiondeploy.errors import UsageError
from visiondeploy.models.hints import Hints, hint_names
from visiondeploy.models.losses import affinity_loss, attention_loss
from visiondeploy.models.settings import DistilSettings
from visiondeploy.models.training import Objective
from visiondeploy.types import Sample

AFFINITY_CELLS = 16
"""Positions a side that are compared with each other, at most: 65,536 pairs for an image."""


class DistilledObjective:
    """An objective with a teacher: the terms that `settings` gives a weight, and the objective's own loss with one.

    The teacher gives logits N×classes×H×W for what the objective prepares, as the network that is trained does. It
    is a copy, in eval mode. The student is the network whose features are compared, of which what is trained may be
    a wrapper; it is not needed where they are not.
    """

    def __init__(
        self, objective: Objective, teacher: nn.Module, settings: DistilSettings, student: nn.Module | None = None
    ) -> None:
        """Raises `UsageError` where no features of the two networks can be compared, but are to be."""
        self.objective = objective
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.settings = settings
        self._hints: tuple[Hints, Hints] | None = None
        if settings.features or settings.affinity:
            if student is None:
                raise ValueError("features are compared: give the student that has them")
            names = hint_names(student, self.teacher)
            if not names:
                raise UsageError(
                    "the network and its teacher have no module of one name and resolution, whose features could be "
                    "compared: set distil.features and distil.affinity to 0."
                )
            self._hints = Hints(student, names), Hints(self.teacher, names)

    def item(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """As the objective's."""
        return self.objective.item(sample, seed)

    def prepare(self, batch: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """As the objective's."""
        return self.objective.prepare(batch, seed)

    def inputs(self, images: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
        """As the objective's."""
        return self.objective.inputs(images, truth)

    def imitation(self, found: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """As the objective's."""
        return self.objective.imitation(found, taught, temperature)

    def loss(self, module: Callable[..., Tensor], images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is their sum. `module` is the student or what it was wrapped in."""
        weights, terms = self.settings, dict[str, Tensor]()
        own_hints, teachers = self._hints or (None, None)
        fed = self.inputs(images, truth)
        found, features = _caught(module, fed, own_hints)
        if weights.logits or teachers:
            with torch.no_grad():
                taught, hints = _caught(self.teacher.to(images.device), fed, teachers)
        if weights.logits:
            terms["distillation"] = weights.logits * self.imitation(found, taught, weights.temperature)
        if weights.features:
            distances = [attention_loss(features[name], hint) for name, hint in hints.items()]
            terms["features"] = weights.features * torch.stack(distances).mean()
        if weights.affinity:
            deepest = min(hints, key=lambda name: hints[name].shape[-2:].numel())
            terms["affinity"] = weights.affinity * affinity_loss(features[deepest], hints[deepest], AFFINITY_CELLS)
        if weights.task_weight:
            # The module has run already: one pass serves all.
            own = self.objective.loss(lambda *_: found, images, truth)
            terms |= {name: weights.task_weight * term for name, term in own.items() if name != "loss"}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _caught(
    module: Callable[..., Tensor], fed: tuple[Tensor, ...], hints: Hints | None
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The output of a run in single precision, and what was caught on the way."""
    if hints is None:
        return module(*fed).float(), {}
    with hints:
        found = module(*fed).float()
    return found, hints.take()
