"""How a network is compressed: the section `compress` of a recipe. Imports no torch."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from visiondeploy.models.compression.budget import Budget, parse_budget
from visiondeploy.models.compression.changes import Between
from visiondeploy.types import Seed, Settings

Step = Literal["separable", "prune"]
Scope = Literal["global", "layerwise"]
Initial = Literal["svd", "random"]


def _a_budget(text: str) -> str:
    parse_budget(text)
    return text


class CompressSettings(Settings):
    """What is taken away, in which order, and by what it is chosen. After each step the network is fine-tuned
    (section `finetune`).

    `prune` is the share of the parameters that pruning removes, of those that it finds; `budget` what the network may
    cost in the end (`budget.py`), for which it is pruned as far as that takes. `separable` replaces k×k convolutions
    by depthwise and pointwise ones: all that can be, or under a budget those that make it cheaper; left away, a budget
    alone decides.
    With a budget of latency it is measured times of each layer that choose what is kept, pruned and replaced.

    `keep` are names of layers that stay as they are, inputs and outputs, with * and ?. `scope` "global" takes the
    least important channels wherever they are, for what they save; "layerwise" the same share everywhere. Channels
    are kept in multiples of `multiple`, by default what the backend computes well. `rounds` is in how many steps is
    pruned, with fine-tuning between. `images` of the training split show which channels matter, and set the
    statistics of batch norm anew after each step. `between` is what stands between depthwise and pointwise
    convolution; `initial` "random" starts them from nothing instead of from the dense kernel.
    """

    prune: Annotated[float, Field(ge=0, lt=1)] = 0.0
    budget: Annotated[str, AfterValidator(_a_budget)] | None = None
    separable: bool | None = None
    order: Annotated[tuple[Step, ...], Field(min_length=1)] = ("separable", "prune")
    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    keep: tuple[str, ...] = ()
    importance: str = "taylor"
    scope: Scope = "global"
    multiple: Annotated[int, Field(ge=1, le=256)] | None = None
    between: Between = "none"
    initial: Initial = "svd"
    images: Annotated[int, Field(ge=1)] = 64
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        wanted = {"separable": bool(self.separable), "prune": bool(self.prune or self.budget)}
        if missing := [step for step, is_wanted in wanted.items() if is_wanted and step not in self.order]:
            raise ValueError(f"order leaves out {missing[0]}, which is asked for: add it, or leave order away")
        if self.prune and self.budget is not None:
            raise ValueError("prune and budget both say how much pruning removes: give one of them")
        if self.budget is not None and self.order[0] == "prune" and "separable" in self.order:
            raise ValueError("under a budget layers are replaced before channels are removed: leave order away")
        if len(set(self.order)) != len(self.order):
            raise ValueError(f"order names a step twice, found {list(self.order)}: use rounds to prune several times")
        return self

    @cached_property
    def limit(self) -> Budget | None:
        """The budget: the one that is given, or the share of the parameters that `prune` leaves."""
        if self.budget is not None:
            return parse_budget(self.budget)
        return Budget("params", 1 - self.prune, relative=True) if self.prune else None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done, in order; empty where nothing is to be compressed."""
        replaces = self.separable if self.separable is not None else self.budget is not None
        wanted = {"separable": replaces, "prune": self.limit is not None}
        return tuple(step for step in self.order for _ in range(self.rounds if step == "prune" else 1) if wanted[step])

    @property
    def label(self) -> str:
        """What a network that was compressed so is called besides its name, as a part of a folder's; empty for none."""
        words = {"separable": "separable", "prune": f"pruned{self.prune * 100:.3g}"}
        if self.budget is not None:
            return re.sub(r"[^0-9a-zA-Z.]+", "", self.budget.replace("×", "x"))
        return "-".join(words[step] for step in dict.fromkeys(self.steps))

    def keeps(self, layer: str) -> bool:
        """Whether a layer stays as it is: by its name, or as a part of what is named."""
        return any(fnmatchcase(layer, text) for pattern in self.keep for text in (pattern, f"{pattern}.*"))
