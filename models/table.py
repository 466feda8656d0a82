"""The networks that exist. A new one is one file in this folder and one line here.

The file defines a `Settings` subclass for its options and `build(settings, classes)`; it is imported
on first use, so that reading the table costs no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.models.validation import first_problem
from visiondeploy.types import Settings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """Where a network lives and what it is for. `settings` is the name of its options' class.

    `smallest_batch` is how many images a step of training needs: batch norm of one value learns nothing. `second` is
    the name of an input beside the image.
    """

    module: str
    settings: str
    task: str
    summary: str
    smallest_batch: int = 1
    second: str | None = None


NETWORKS: dict[str, NetworkEntry] = {
    "unet": NetworkEntry("visiondeploy.models.unet", "UNetSettings", "segmentation", "UNet, Ronneberger et al. 2015"),
    "deeplabv3": NetworkEntry(
        "visiondeploy.models.deeplabv3",
        "DeepLabV3Settings",
        "segmentation",
        "torchvision's DeepLabV3, Chen et al. 2017",
        smallest_batch=2,
    ),
    "style": NetworkEntry(
        "visiondeploy.models.style_net", "StyleNetSettings", "style", "one painting's style, Johnson et al. 2016"
    ),
    "style-multi": NetworkEntry(
        "visiondeploy.models.style_multi",
        "StyleMultiSettings",
        "style",
        "many styles, Dumoulin et al. 2017",
        second="weights",
    ),
    "style-adain": NetworkEntry(
        "visiondeploy.models.style_adain",
        "StyleAdainSettings",
        "style",
        "any style, Huang and Belongie 2017",
        second="style",
    ),
}


def check_name(architecture: str) -> None:
    """Raise `UsageError` for a network that is not in the table."""
    if architecture not in NETWORKS:
        raise unknown_name("network", architecture, NETWORKS)


def check_batch(architecture: str, batch_size: int, key: str = "train.batch_size") -> None:
    """Raise `UsageError` for a batch that the network does not train with, or a network that is not in the table.

    `key` is where the recipe says how large it is.
    """
    check_name(architecture)
    smallest = NETWORKS[architecture].smallest_batch
    if batch_size < smallest:
        instead = ", or take a checkpoint with --checkpoint" if key == "train.batch_size" else ""
        raise UsageError(
            f"{key} is {batch_size}, but network '{architecture}' trains with {smallest} images or more, as "
            f"its batch norm compares them: raise it{instead}."
        )


def settings_of(architecture: str, options: Mapping[str, Any]) -> Settings:
    """The validated options of a network.

    Raises `UsageError` for a network that is not in the table and for options it does not have.
    """
    check_name(architecture)
    entry = NETWORKS[architecture]
    kind: type[Settings] = getattr(importlib.import_module(entry.module), entry.settings)
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        raise UsageError(f"model.options of network '{architecture}': {first_problem(error, kind)}") from None


def create(architecture: str, options: Mapping[str, Any], classes: int) -> nn.Module:
    """A network with random weights from torch's global generator. Raises as `settings_of`."""
    settings = settings_of(architecture, options)
    module: nn.Module = importlib.import_module(NETWORKS[architecture].module).build(settings, classes)
    return module
