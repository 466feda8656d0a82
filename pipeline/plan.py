"""What a recipe means on this machine, found out before any stage runs and without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from visiondeploy.benchmarks.accuracy import chosen
from visiondeploy.benchmarks.environment import capture, has_vnni
from visiondeploy.benchmarks.report.schema import Environment
from visiondeploy.calibration.observers import observer_of
from visiondeploy.calibration.schemes import SCHEMES, scheme_of
from visiondeploy.errors import BackendUnavailable, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.table import check_name
from visiondeploy.pipeline.backends.base import Backend, require
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS, backend_of
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.types import Dataset

if TYPE_CHECKING:
    from visiondeploy.types import Array, Task


Until = Literal["train", "export", "compile", "measure"]
"""The last stage of a build."""


def file_name(text: str) -> str:
    """Text as a part of a folder's name: a data set may be called "a/b", or what its author likes."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:32] or "data"


@dataclass(frozen=True)
class Plan:
    """A recipe with its data set, network, backends and machine. Each is found out on first use and kept."""

    recipe: Recipe

    def check(self) -> None:
        """Raise now what could only be found after minutes of training: names, splits, backends, precision."""
        data = self.recipe.data
        if self.recipe.model.checkpoint is None:
            check_name(self.recipe.model.name)
        if self.recipe.calibration.observer != "auto":
            observer_of(self.recipe.calibration.observer)
        if self.recipe.calibration.scheme != "auto":
            scheme_of(self.recipe.calibration.scheme)
        for split in dict.fromkeys((data.train, data.val, data.calibration)):
            self.dataset.split(split)
        _ = self.spec, self.backends
        if self.serves:
            _ = self.served_task

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, opened; its samples are read when they are asked for."""
        return open_dataset(self.recipe.data.dataset, self.recipe.data.options)

    @cached_property
    def environment(self) -> Environment:
        """This machine with the recipe's threads."""
        return capture(self.recipe.threads)

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        """What the recipe asks for; "auto" is every engine backend that is installed and runs the precision."""
        wanted = self.recipe.backend
        if wanted != "auto":
            backend = backend_of(wanted)
            require(backend, self.recipe.precision)
            return (backend,)
        usable = tuple(BACKENDS[name] for name in AUTO if name not in self.unusable)
        if not usable:
            raise BackendUnavailable(f"no engine backend can be used here: {' '.join(self.unusable.values())}")
        return usable

    @cached_property
    def unusable(self) -> dict[str, str]:
        """The backends that "auto" would take if it could, by name, with the sentence that says why it cannot."""
        reasons: dict[str, str] = {}
        for name in AUTO if self.recipe.backend == "auto" else ():
            try:
                require(BACKENDS[name], self.recipe.precision)
            except BackendUnavailable as error:
                reasons[name] = str(error)
        return reasons

    @cached_property
    def spec(self) -> NetworkSpec:
        """What is known of the network before it is there, without torch."""
        recipe = self.recipe
        if recipe.model.checkpoint is not None:
            spec = read_spec(Path(recipe.model.checkpoint))
            wanted = (recipe.input.height or spec.input.height, recipe.input.width or spec.input.width)
            if spec.classes != self.dataset.classes:
                raise UsageError(
                    f"the checkpoint {recipe.model.checkpoint} knows {len(spec.classes)} classes "
                    f"({', '.join(spec.classes[:3])}, …), the data set {self.dataset.name} has "
                    f"{len(self.dataset.classes)} ({', '.join(self.dataset.classes[:3])}, …): name its own data "
                    "set with --dataset."
                )
            # With another one ignored pixels would be judged as a class, or a class be ignored.
            if spec.ignore_index != self.dataset.ignore_index:
                raise UsageError(
                    f"the checkpoint {recipe.model.checkpoint} has ignore_index {spec.ignore_index}, the data set "
                    f"{self.dataset.name} has {self.dataset.ignore_index}: name its own data set with --dataset, or "
                    "give this one the same ignore_index."
                )
            size = {"height": wanted[0], "width": wanted[1]}
            # A served network is one all the same.
            return spec.model_copy(update={"input": spec.input.model_copy(update=size), "io": "float32"})
        height, width = recipe.input.height, recipe.input.width
        if height is None or width is None:
            first = self.dataset.split(recipe.data.train)[0].image.shape
            height, width = height or first[0], width or first[1]
        return NetworkSpec(
            architecture=recipe.model.name,
            options=recipe.model.options,
            task=recipe.task,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
            ignore_index=self.dataset.ignore_index,
            input=InputSpec(height=height, width=width, mean=recipe.input.mean, std=recipe.input.std),
        )

    def name(self, until: Until) -> str:
        """The name of the build's folder. What ends early has one of its own, so as not to replace a whole build."""
        ends = {"train": "network", "export": "onnx"}
        parts = [self.recipe.name, file_name(self.dataset.name), ends.get(until, str(self.recipe.precision))]
        if self.serves and until not in ends:
            parts.append(self.served.io)
        if self.recipe.backend != "auto" and until not in ends:
            parts.append(self.recipe.backend)
        if self.dataset.name == "synthetic":
            parts.remove("synthetic")
        return "-".join(parts)

    @cached_property
    def served(self) -> NetworkSpec:
        """What is known of the engines, and of the baseline: the network, with the inputs and outputs of its graph."""
        return self.spec.model_copy(update={"io": self.recipe.export.io})

    @property
    def serves(self) -> bool:
        """Whether the engines have other inputs and outputs than the network."""
        return self.served.io != self.spec.io

    @cached_property
    def task(self) -> Task:
        """The task of the network."""
        from visiondeploy.models.tasks.table import task_of

        return task_of(self.spec)

    @cached_property
    def served_task(self) -> Task:
        """The task of the engines."""
        from visiondeploy.models.tasks.table import task_of

        return task_of(self.served)

    @cached_property
    def samples(self) -> list[Mapping[str, Array]]:
        """The feeds that parity is measured on: images spread over the validation split."""
        return self._feeds(self.task)

    @cached_property
    def served_samples(self) -> list[Mapping[str, Array]]:
        """The same images as the engines take them."""
        return self._feeds(self.served_task)

    def _feeds(self, task: Task) -> list[Mapping[str, Array]]:
        split = self.dataset.split(self.recipe.data.val)
        indices = chosen(len(split), self.recipe.limits.parity_images)
        return [task.preprocess([split[index].image]) for index in indices]

    @cached_property
    def validation(self) -> str:
        """The digest of the validation split, which parity and quality are measured on."""
        return self.dataset.digest(self.recipe.data.val)

    def weight_bits(self, scheme: str) -> int:
        """Bits of int8 weights: what the recipe says, or the scheme, or what this CPU multiplies without saturating."""
        bits = self.recipe.calibration.weight_bits
        if bits != "auto":
            return bits
        return SCHEMES[scheme].weight_bits or (8 if has_vnni() else 7)

    def scheme(self, backend: Backend) -> str:
        """The name of the Q/DQ scheme that a backend gets: what the recipe says, or what the backend names."""
        wanted = self.recipe.calibration.scheme
        return (backend.scheme or "cpu") if wanted == "auto" else wanted
