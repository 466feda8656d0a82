"""Stage `distil-features`: a feature network and pictures to a small network with the same features."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.errors import UsageError
from visiondeploy.models.features import WEIGHTS, features_digest, load_features
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.stages.train import use_threads
from visiondeploy.pipeline.store import Artifact, Step, Store, tool_versions
from visiondeploy.types import Dataset

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visiondeploy.models.feature_objective import FeatureSettings
    from visiondeploy.models.training import Report

# 1: fitted layer by layer, then trained on features, Gram matrices and gradients of the style loss
VERSION = 1
TOOLS = ("torch", "torchvision", "accelerate", "pillow")

STUDENT = "mobilenet"
DESCRIPTION = "weights.json"

# 1: schema, network, teacher, teacher_sha256, data, photographs, settings, feature_error, licence
SCHEMA = "visiondeploy.distilled-features/1"
LICENCE = "Apache-2.0; the weights are made from the teacher's, whose licence holds too (HED: MIT)"

FIT_BATCH = 4
SCALED_BY = 16
"""Pictures by which the teacher's layers are brought to one scale."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught: the teacher's name, pictures for training and validation, and how."""

    teacher: str
    dataset: Dataset
    splits: tuple[str, str]
    settings: FeatureSettings

    def step(self) -> Step:
        """All that decides what comes out."""
        inputs = {"teacher": features_digest(self.teacher)}
        inputs |= {name: self.dataset.digest(name) for name in self.splits}
        return Step("distil-features", VERSION, inputs, self.settings, tool_versions(*TOOLS))


def distil_features(lesson: Lesson, store: Store, threads: int, events: Events) -> Artifact:
    """The weights, in half precision, and their description: from the store, or made now.

    An interrupted run goes on where it was. Raises as `load_features`, and `UsageError` for a teacher that is no VGG.
    """
    step = lesson.step()
    events.start("distil-features")
    work = store.work(step.key)
    ran = store.run(step, "features", lambda out: distil(lesson, threads, work, out, events.progress))
    note = f"feature error {ran.artifact.meta['feature_error']:.3f}"
    events.end("distil-features", ran.seconds, ran.cached, note)
    return ran.artifact


def distil(lesson: Lesson, threads: int, work: Path, folder: Path, report: Report) -> dict[str, Any]:
    """Fit and train, and write `weights.safetensors`, `weights.json` and TensorBoard's events into `folder`."""
    import torch
    from safetensors.torch import save_file

    from visiondeploy.models.feature_distillation import Student, root_mean_squares
    from visiondeploy.models.feature_fitting import fit
    from visiondeploy.models.feature_objective import FeatureObjective, FeatureWatch
    from visiondeploy.models.training import train_module, validate
    from visiondeploy.models.vgg import VGG

    use_threads(threads)
    settings, teacher = lesson.settings, load_features(lesson.teacher)
    if not isinstance(teacher, VGG):
        raise UsageError(f"feature network '{lesson.teacher}' is no VGG, and only a VGG can be taught: take vgg16-hed.")
    data, validation = (lesson.dataset.split(name) for name in lesson.splits)
    pictures = _pictures(lesson)
    net = fit(teacher, [torch.stack(batch) for batch in _batches(pictures, FIT_BATCH)], settings.seed, report)
    scales = root_mean_squares(teacher, [picture[None] for picture in pictures[:SCALED_BY]], net.layers)
    watch = FeatureWatch(teacher, scales, 2 * settings.size)
    student: nn.Module = Student(net, scales)
    history, seconds = [], 0.0
    if settings.steps:
        objective, log = FeatureObjective(teacher, scales, settings), work / "tensorboard"
        trained = train_module(student, watch, objective, data, validation, settings, work, log, report)
        shutil.copytree(log, folder / "tensorboard")
        student, history, seconds = trained.module, trained.history, trained.seconds
    error = watch.metrics[0].value(validate(student, watch, validation, settings.validate_images))
    state = {name: value.half().contiguous() for name, value in student.get_submodule("net").state_dict().items()}
    save_file(state, folder / WEIGHTS)
    description = {
        "schema": SCHEMA,
        "network": STUDENT,
        "teacher": lesson.teacher,
        "teacher_sha256": features_digest(lesson.teacher),
        "data": lesson.dataset.name,
        "photographs": len(data),
        "settings": settings.model_dump(mode="json"),
        "feature_error": error,
        "licence": LICENCE,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    parameters = sum(value.numel() for value in state.values())
    return {"feature_error": error, "seconds": round(seconds, 1), "history": history, "parameters": parameters}


def _pictures(lesson: Lesson) -> list[Tensor]:
    """Pictures 3×H×W as the student will be trained on, of photographs from all over the split."""
    from visiondeploy.models.distillation_pictures import drawn_picture

    split, found = lesson.dataset.split(lesson.splits[0]), []
    count, seed = lesson.settings.fitted, lesson.settings.seed
    for index in range(count):
        sample = split[index * len(split) // count]
        paintings = [] if sample.target is None else [sample.target]
        found.append(drawn_picture(sample.image, paintings, lesson.settings.size, seed * count + index))
    return found


def _batches(pictures: list[Tensor], size: int) -> list[list[Tensor]]:
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]
