"""What a recipe means on this machine, found out before any stage runs and without torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visiondeploy.benchmarks.accuracy import chosen as spread
from visiondeploy.benchmarks.environment import capture, has_vnni
from visiondeploy.benchmarks.report.schema import Environment
from visiondeploy.calibration.observers import observer_of
from visiondeploy.calibration.ranges import Ranges, parse_ranges
from visiondeploy.calibration.schemes import SCHEMES, scheme_of
from visiondeploy.calibration.sets import pool
from visiondeploy.errors import BackendUnavailable, InputError, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.models.compression.criteria import criterion_of
from visiondeploy.models.reading import read_bytes
from visiondeploy.models.spec import ONNX, GraphSpec, InputSpec, NetworkSpec
from visiondeploy.models.table import NETWORKS, check_batch, check_name, settings_of
from visiondeploy.pipeline.backends.base import Backend, require
from visiondeploy.pipeline.backends.inside import SingleLayers
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS, REFERENCES, backend_of
from visiondeploy.pipeline.painting import dataset_of, held_against, new_style, taught_style
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.stages.mix import Part
from visiondeploy.pipeline.stages.sample import CalibrationSet
from visiondeploy.types import Dataset, Precision

if TYPE_CHECKING:
    from visiondeploy.types import Array, Task


Until = Literal["train", "compress", "export", "quantise", "compile", "measure"]
"""The last stage of a build."""

LARGEST_RANGES = 64 << 20
"""Bytes of a ranges file that is read."""


def file_name(text: str) -> str:
    """Text as a part of a folder's name: a data set may be called "a/b", or what its author likes."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:32] or "data"


@dataclass(frozen=True)
class Plan:
    """A recipe with its data set, network, backends and machine. Each is found out on first use and kept.

    `graph` is what was found of the ONNX file that the recipe names, where it names one.
    """

    recipe: Recipe
    graph: GraphSpec | None = None

    def check(self) -> None:
        """Raise now what could only be found after minutes of training: names, splits, backends, precision."""
        data = self.recipe.data
        if self.graph is not None:
            self._check_graph()
        elif self.recipe.model.checkpoint is None:
            self._check_network()
            self._check_start()
            if self.recipe.train.steps:
                check_batch(self.recipe.model.name, self.recipe.train.batch_size)
        if self.recipe.calibration.observer != "auto":
            observer_of(self.recipe.calibration.observer)
        if self.recipe.calibration.scheme != "auto":
            self._check_scheme(self.recipe.calibration.scheme)
        self._check_codes()
        self._check_compression()
        if self.recipe.qat.steps and self.recipe.precision is not Precision.INT8:
            raise UsageError(
                f"qat.steps = {self.recipe.qat.steps} fine-tunes for int8, but the precision is "
                f"{self.recipe.precision}: add --precision int8, or leave --qat away."
            )
        if data.sensitivity == data.val:
            raise UsageError(
                f"data.sensitivity is '{data.val}', as data.val is: what is chosen on a split cannot be confirmed on "
                "it; name another one, or leave it away."
            )
        for split in dict.fromkeys((data.train, data.val, data.calibration, data.sensitivity)):
            if split is not None:
                self.dataset.split(split)
        _ = self.ranges
        _ = self.spec
        for backend in self.backends:
            backend.heed(self.recipe)
        self._check_profile()
        if self.serves:
            _ = self.served_task

    def _check_network(self) -> None:
        model, task = self.recipe.model, self.recipe.task
        check_name(model.name)
        if task != NETWORKS[model.name].task:
            raise UsageError(
                f"network '{model.name}' is for {NETWORKS[model.name].task}, and the task is {task}: leave --task away."
            )
        if model.feeds or model.black_white:
            raise UsageError("model.feeds and model.black_white are for an ONNX file, as model.onnx: leave them away.")

    def _check_graph(self) -> None:
        name = self.graph.file if self.graph else ""
        for backend in self.backends:
            if backend.source != "onnx":
                raise UsageError(
                    f"backend {backend.name} runs networks of PyTorch, and {name} is an ONNX file: choose another one."
                )
        if self.recipe.calibration.mixed and not any(metric.judged for metric in self.task.metrics):
            raise UsageError(f"--max-drop needs a metric, and of {name} none is judged here: leave it away.")

    def _check_start(self) -> None:
        start, wanted = self.recipe.model.start, self.recipe.model
        if start is None:
            return
        found = read_spec(Path(start))
        same = found.architecture == wanted.name and not found.changes and len(found.kinds) == len(self.spec.kinds)
        if not same or settings_of(found.architecture, found.options) != settings_of(wanted.name, wanted.options):
            raise UsageError(
                f"model.start: {start} is a network '{found.architecture}' of other options, classes or styles than "
                f"the '{wanted.name}' to be trained, or a compressed one: set model.name and model.options as it has."
            )

    def _check_codes(self) -> None:
        if self.recipe.calibration.adaround and self.recipe.precision is Precision.FP8:
            raise UsageError("calibration.adaround rounds to integers, and the precision is fp8: leave it away.")
        if self.recipe.calibration.weight_bits != "auto" and self.recipe.precision is Precision.FP8:
            raise UsageError("calibration.weight_bits is of integers, and the precision is fp8: leave it away.")

    def _check_compression(self) -> None:
        settings = self.recipe.compress
        if settings.steps:
            criterion_of(settings.importance)
            check_batch(self.spec.architecture, settings.images, "compress.images")
            if self.recipe.finetune.steps:
                check_batch(self.spec.architecture, self.recipe.finetune.batch_size, "finetune.batch_size")
            if any(backend.source == "network" for backend in self.backends):
                raise UsageError(
                    "backend pytorch runs the baseline, which is the network as it was before compression: choose "
                    "another backend, as torchscript."
                )
        timed = settings.limit is not None and settings.limit.kind == "latency"
        if timed and not isinstance(self.running, SingleLayers):
            names = ", ".join(backend.name for backend in self.backends)
            raise UsageError(
                f"compress.budget {settings.budget!r} is held by measured times, which {names} cannot give here: "
                "choose --backend openvino or onnxruntime, or a budget of params or macs."
            )

    def _check_profile(self) -> None:
        for axis in ("height", "width"):
            size, span = getattr(self.spec.input, axis), getattr(self.recipe.engine, axis)
            if span is not None and not span[0] <= size <= span[2]:
                raise UsageError(
                    f"engine.{axis} = {list(span)} leaves out {size}, the {axis} of the network's images, "
                    "which everything is measured with: widen it."
                )

    def _check_scheme(self, name: str) -> None:
        fp8 = scheme_of(name).target.code == "fp8"
        if self.recipe.precision.quantised and fp8 != (self.recipe.precision is Precision.FP8):
            raise UsageError(
                f"calibration.scheme '{name}' is for {'fp8' if fp8 else 'int8'}, and the precision is "
                f"{self.recipe.precision}: leave the scheme away."
            )

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, opened, with the task's paintings; its samples are read when they are asked for."""
        return dataset_of(self.recipe)

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

    @property
    def own(self) -> Precision:
        """The precision of the network itself, which nothing has to be made for."""
        return Precision.FP32 if self.graph is None else self.graph.precision

    @property
    def baseline(self) -> Backend:
        """What runs the network itself: everything is compared with that."""
        return BACKENDS[REFERENCES["network" if self.graph is None else "onnx"]]

    @property
    def home(self) -> str:
        """Where in a build's folder the network itself lies, which is an engine of the baseline."""
        return "network" if self.graph is None else f"onnx-{self.own}"

    @property
    def running(self) -> Backend | None:
        """The first of the backends whose engines run here; None where they are all for another machine."""
        return next((backend for backend in self.backends if backend.unrunnable() is None), None)

    def heeded(self, backend: Backend) -> dict[str, Any]:
        """What of the recipe's [engine] decides the engine of a backend. The baseline has no use for any of it."""
        return backend.heed(self.recipe) if backend in self.backends else {}

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
            style = taught_style(recipe.style, spec, self.dataset, recipe.model.checkpoint)
            size = {"height": wanted[0], "width": wanted[1]}
            # A served network is one all the same.
            return spec.model_copy(
                update={"input": spec.input.model_copy(update=size), "io": "float32", "style": style}
            )
        if recipe.model.onnx is not None and self.graph is None:
            raise RuntimeError("an ONNX file is adopted before anything is known of it")
        height, width = recipe.input.height, recipe.input.width
        if height is None or width is None:
            first = self.dataset.split(recipe.data.train)[0].image.shape
            height, width = height or first[0], width or first[1]
        size_of = InputSpec(height=height, width=width, mean=recipe.input.mean, std=recipe.input.std)
        if self.graph is not None:
            judged = held_against(recipe.style, self.dataset)
            return NetworkSpec(architecture=ONNX, task=recipe.task, style=judged, input=size_of, graph=self.graph)
        return NetworkSpec(
            architecture=recipe.model.name,
            options=recipe.model.options,
            task=recipe.task,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
            ignore_index=self.dataset.ignore_index,
            style=new_style(recipe.style, recipe.model.name, self.dataset),
            input=size_of,
        )

    def name(self, until: Until) -> str:
        """The name of the build's folder. What ends early has one of its own, so as not to replace a whole build."""
        ends = {"train": "network", "export": "onnx", "quantise": f"{self.recipe.precision}-calibration"}
        parts = [self.recipe.name, file_name(self.dataset.name), ends.get(until, str(self.recipe.precision))]
        if until != "train" and self.recipe.compress.steps:
            parts.insert(2, self.recipe.compress.label)
        if self.serves and until not in ends:
            parts.append(self.served.io)
        if self.recipe.backend != "auto" and until not in ends:
            parts.append(self.recipe.backend)
        if self.recipe.qat.steps and until != "train":
            parts.append("qat")
        if until == "compress":
            parts.append("compressed")
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
        indices = spread(len(split), self.recipe.limits.parity_images)
        return [task.preprocess([split[index]]) for index in indices]

    @cached_property
    def validation(self) -> str:
        """The digest of the validation split, which parity and quality are measured on."""
        return self.dataset.digest(self.recipe.data.val)

    @cached_property
    def ranges(self) -> tuple[Ranges, str] | None:
        """The ranges that the recipe names, with the digest of their file; None where images are to be observed."""
        if self.recipe.calibration.ranges is None:
            return None
        path = Path(self.recipe.calibration.ranges)
        try:
            text = read_bytes(path, LARGEST_RANGES)
        except OSError as error:
            raise InputError(
                f"calibration.ranges: {path} cannot be read ({error.strerror}): name a ranges.json that "
                "`deploy calibrate` wrote."
            ) from None
        return parse_ranges(text, str(path)), hashlib.sha256(text).hexdigest()

    def judged(self, chosen: CalibrationSet) -> Part:
        """The images that calibration.mixed judges by: none that is calibrated with or confirmed on."""
        wanted, data = self.recipe.calibration.mixed_images, self.recipe.data
        if data.sensitivity is not None:
            split = self.dataset.split(data.sensitivity)
            return Part(split, tuple(spread(len(split), wanted)))
        split = self.dataset.split(data.calibration)
        used = {*chosen.images, *chosen.held_back}
        order = pool(len(split), self.recipe.calibration.seed)
        free = [index for index in order if index not in used][:wanted]
        if len(free) < 2:
            raise UsageError(
                f"calibration.mixed needs images to judge by, but all {len(split)} of the split '{split.name}' are "
                "calibrated with: name another split with data.sensitivity, or lower calibration.images."
            )
        return Part(split, tuple(sorted(free)))

    def weight_bits(self, scheme: str) -> int:
        """Bits of int8 weights: what the recipe says, or the scheme, or what this CPU multiplies without saturating."""
        bits = self.recipe.calibration.weight_bits
        if bits != "auto":
            return bits
        return SCHEMES[scheme].weight_bits or (8 if has_vnni() else 7)

    def scheme(self, backend: Backend) -> str:
        """The name of the Q/DQ scheme that a backend gets: what the recipe says, or what the backend names."""
        wanted = self.recipe.calibration.scheme
        if wanted != "auto":
            return wanted
        name = backend.scheme or "cpu"
        return f"{name}-fp8" if self.recipe.precision is Precision.FP8 else name

    @cached_property
    def codes(self) -> tuple[int, bool]:
        """What one network is fine-tuned for that all backends get: bits of weights, and whether codes are symmetric.

        What one scheme needs and the others do not is learnt for all.
        """
        schemes = {self.scheme(backend) for backend in self.backends}
        return min(map(self.weight_bits, schemes)), any(SCHEMES[scheme].target.symmetric for scheme in schemes)
