"""Style transfer by optimisation of the pixels: Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional
neural networks", with L-BFGS (Liu and Nocedal 1989) and from coarse to fine (Gatys et al. 2017, arXiv:1611.07865,
section 6).

At the coarsest scale strokes and large shapes settle, where an iteration is cheap; each finer scale starts from the
upsampled picture, and adds what could not be seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.errors import unknown_name
from visiondeploy.models.features import FeatureNet
from visiondeploy.models.gatys_loss import GatysLoss
from visiondeploy.models.gatys_scales import Scale, check_painting, painting_size, scales_of, size_of
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.models.resume import read_state, remove_leftovers, write_state
from visiondeploy.types import Image

Report = Callable[[int, int, str], None]
"""Called after each iteration with the percents of the work done, 100, and a few words."""

Preview = Callable[[Image], None]
"""Called with the picture as it is, whenever the state was saved."""

STATE = "resume.safetensors"
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Stylised:
    """The result, H×W×3 uint8, and for each scale its size and the distances at its end.

    `resumed_from` is how many iterations an interrupted run had done.
    """

    picture: Image
    history: list[dict[str, float]]
    resumed_from: int


@dataclass
class _Progress:
    """How far a run has come: `iteration` of the scale `scale` are done, and this is the picture."""

    picture: Tensor
    scale: int = 0
    iteration: int = 0
    history: tuple[dict[str, float], ...] = ()
    optimizer: Mapping[str, Any] | None = None


def stylise(
    net: FeatureNet,
    photo: Image,
    painting: Image,
    settings: GatysSettings,
    work: Path,
    report: Report,
    preview: Preview,
    device: torch.device = CPU,
) -> Stylised:
    """Bring the style of a painting to a photograph, H×W×3 uint8 both, going on from `work` after an interruption.

    The network is on `device`. On the CPU a run that was interrupted and gone on with gives the same bytes as one that
    was not, with the same number of threads. `work` is kept by the caller between runs, and belongs to these pictures,
    network and settings.

    Raises as `scales_of` and `check_painting`, and `UsageError` for an unknown layer and for weights with which the
    loss is no number.
    """
    scales = scales_of(size_of(photo), settings)
    check_painting(size_of(painting))
    for layer in (*(settings.content_layers or ()), *(settings.style_layers or ())):
        if layer not in net.layers:
            raise unknown_name("layer", layer, net.layers)
    remove_leftovers(work / STATE)
    progress = _load(work / STATE) or _Progress(_first(photo, scales[0], settings))
    resumed_from = sum(scale.iterations for scale in scales[: progress.scale]) + progress.iteration
    total = sum(scale.work for scale in scales)
    for index in range(progress.scale, len(scales)):
        scale = scales[index]
        if index > progress.scale:
            progress.picture = _upsampled(progress.picture, scale)
            progress.scale, progress.iteration, progress.optimizer = index, 0, None
        picture = progress.picture.to(device, copy=True).requires_grad_()
        loss = GatysLoss(
            net,
            picture,
            as_tensor(photo, (scale.height, scale.width)).to(device),
            as_tensor(painting, painting_size(size_of(painting), scale, settings)).to(device),
            settings,
        )
        optimizer: Any = _optimizer(picture, settings, progress.optimizer)
        for iteration in range(progress.iteration + 1, scale.iterations + 1):
            optimizer.step(loss)
            done = sum(each.work for each in scales[:index]) + scale.work * iteration // scale.iterations
            count = sum(each.iterations for each in scales[:index]) + iteration
            report(
                100 * done // total,
                100,
                f"iteration {count} of {settings.iterations} at {scale.width}×{scale.height}, {loss.said()}",
            )
            if iteration % settings.save_every == 0 or iteration == scale.iterations:
                progress.picture, progress.iteration = picture.detach(), iteration
                progress.optimizer = optimizer.state_dict()["state"].get(0)
                if iteration == scale.iterations:
                    # The line search may have looked elsewhere last.
                    loss()
                    progress.history += ({"height": scale.height, "width": scale.width, **loss.terms},)
                _save(work / STATE, progress)
                preview(as_image(picture))
    return Stylised(as_image(progress.picture), list(progress.history), resumed_from)


def as_tensor(image: Image, size: tuple[int, int]) -> Tensor:
    """An image H×W×3 uint8 to a tensor 1×3×height×width float32 in 0…1, resized with Pillow's Lanczos filter."""
    height, width = size
    resized = Pillow.fromarray(image).resize((width, height), Pillow.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).unsqueeze(0).contiguous().float() / 255.0


def as_image(picture: Tensor) -> Image:
    """A picture 1×3×H×W float32 in 0…1 to H×W×3 uint8; what lies outside is clipped."""
    pixels = picture.detach().clamp(0.0, 1.0).mul(255.0).round().to("cpu", torch.uint8)
    return np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())


def _first(photo: Image, scale: Scale, settings: GatysSettings) -> Tensor:
    """What the coarsest scale begins with; the noise is about a middle grey."""
    if settings.init == "content":
        return as_tensor(photo, (scale.height, scale.width))
    generator = torch.Generator().manual_seed(settings.seed)
    return 0.5 + 0.1 * torch.randn(1, 3, scale.height, scale.width, generator=generator)


def _upsampled(picture: Tensor, scale: Scale) -> Tensor:
    size = (scale.height, scale.width)
    return F.interpolate(picture.clamp(0.0, 1.0), size, mode="bicubic", align_corners=False).clamp(0.0, 1.0)


def _optimizer(picture: Tensor, settings: GatysSettings, state: Mapping[str, Any] | None) -> torch.optim.LBFGS:
    """One iteration a step, so that each can be told of; with the line search the loss never grows."""
    optimizer = torch.optim.LBFGS(
        [picture], max_iter=1, max_eval=25, history_size=settings.memory, line_search_fn="strong_wolfe"
    )
    if state is not None:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: dict(state)}})
    return optimizer


def _save(path: Path, progress: _Progress) -> None:
    """Numbers and the lengths of lists go beside the tensors; what L-BFGS computes anew ("al") is left out."""
    tensors, numbers, lengths = {"picture": progress.picture}, dict[str, Any](), dict[str, int]()
    for name, value in (progress.optimizer or {}).items():
        if isinstance(value, Tensor):
            tensors[f"optimizer.{name}"] = value
        elif isinstance(value, list) and name != "al":
            lengths[name] = len(value)
            tensors |= {f"optimizer.{name}.{index}": each for index, each in enumerate(value)}
        elif isinstance(value, int | float):
            numbers[name] = value
    write_state(
        path,
        tensors,
        {
            "scale": progress.scale,
            "iteration": progress.iteration,
            "history": progress.history,
            "numbers": numbers,
            "lengths": lengths,
        },
    )


def _load(path: Path) -> _Progress | None:
    """The state that was saved, None where there is none that can be read."""
    state = read_state(path)
    if state is None:
        return None
    tensors, found = state
    # Copied to where the allocator puts them: sums of vectors may differ in their last bit with the alignment.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    optimizer: dict[str, Any] = dict(found["numbers"])
    for name, length in found["lengths"].items():
        optimizer[name] = [tensors[f"optimizer.{name}.{index}"] for index in range(length)]
    optimizer |= {
        name.removeprefix("optimizer."): tensor
        for name, tensor in tensors.items()
        if name.startswith("optimizer.") and name.count(".") == 1
    }
    return _Progress(
        tensors["picture"],
        found["scale"],
        found["iteration"],
        tuple(found["history"]),
        optimizer or None,
    )
