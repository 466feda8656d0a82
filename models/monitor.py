"""What TensorBoard shows of a training: losses, the metric, predictions, histograms of feature maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from visiondeploy.models.forward import forward
from visiondeploy.types import Image, Sample, Watched


class Monitor:
    """Writes TensorBoard events to a folder; does nothing where the folder is None (all but the first process)."""

    def __init__(self, log: Path | None, first_step: int) -> None:
        # Events after the step that a run resumes from are of the run that was interrupted.
        purge = first_step if first_step else None
        self._writer = SummaryWriter(str(log), purge_step=purge) if log else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer:
            self._writer.close()

    def scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """One point on each curve of a group ("train", "validation")."""
        for name, value in values.items():
            if self._writer:
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, step: int, module: nn.Module, task: Watched, samples: Sequence[Sample]) -> None:
        """Input, truth and prediction of each sample side by side, and histograms of the first one's feature maps."""
        if not self._writer:
            return
        was_training = module.training
        module.eval()
        features: dict[str, Tensor] = {}
        hooks = [block.register_forward_hook(_keep(features, name)) for name, block in _blocks(module)]
        for number, sample in enumerate(samples):
            outputs = forward(module, task, task.preprocess([sample]))
            row = _row([sample.image, task.truth(sample), task.picture(sample, outputs)])
            self._writer.add_image(f"prediction/{number}", row, step, dataformats="HWC")
        for hook in hooks:
            hook.remove()
        for name, feature in features.items():
            self._writer.add_histogram(f"features/{name}", feature.float().cpu(), step)
        module.train(was_training)


def _row(pictures: Sequence[Image]) -> Image:
    """Pictures H×W×3 side by side, at the height of the first; that of a painting is another than a photograph's."""
    height = pictures[0].shape[0]
    scaled = []
    for picture in pictures:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        as_wanted = picture.shape[:2] == (height, width)
        scaled.append(picture if as_wanted else np.asarray(Pillow.fromarray(picture).resize((width, height))))
    return np.concatenate(scaled, axis=1)


def _keep(features: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, object], None]:
    """A hook that keeps the first output of a block. It returns nothing: what a hook returns replaces the output."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        # A block may give several tensors, as a dictionary.
        if isinstance(output, Tensor):
            features.setdefault(name, output.detach())

    return hook


def _blocks(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of a network, with what holds blocks opened: the level at which people speak of it."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            found += [(f"{name}.{place}", block) for place, block in child.named_children()]
        else:
            found.append((name, child))
    return found
