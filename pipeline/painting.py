"""The data of a recipe with the paintings that it names, and what a network is to know of them."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.errors import UsageError
from visiondeploy.models.data.styled import StyledDataset, read_painting
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.features import feature_entry, features_digest
from visiondeploy.models.settings import StyleSettings
from visiondeploy.models.spec import StyleSpec
from visiondeploy.models.table import NETWORKS
from visiondeploy.models.tasks.table import task_entry
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.types import Dataset


def dataset_of(recipe: Recipe) -> Dataset:
    """The recipe's data set, for a styled task with its paintings.

    Raises `UsageError` as `open_dataset`, for a styled task without paintings and for paintings with another task.
    """
    found = open_dataset(recipe.data.dataset, recipe.data.options)
    if not task_entry(recipe.task).styled:
        if recipe.style.images:
            raise UsageError(f"style.images are for style transfer, and the task is {recipe.task}: leave --style away.")
        return found
    return StyledDataset(found, [read_painting(Path(name), recipe.style.size) for name in recipe.style.images])


def style_of(settings: StyleSettings, architecture: str, dataset: Dataset) -> StyleSpec | None:
    """What a new network is to paint like; None where the data set has no paintings.

    Raises as `features_digest`, and `UsageError` for several paintings and a network that paints like one.
    """
    if not isinstance(dataset, StyledDataset):
        return None
    feature_entry(settings.features)
    if NETWORKS[architecture].second is None and len(dataset.paintings) > 1:
        raise UsageError(
            f"network '{architecture}' knows one style, and --style names {len(dataset.paintings)} paintings: name "
            "one, or take --set model.name=style-multi."
        )
    return StyleSpec(
        names=tuple(painting.name for painting in dataset.paintings),
        digests=tuple(painting.digest for painting in dataset.paintings),
        features=settings.features,
        weights=features_digest(settings.features),
        size=settings.size,
    )


def check_paintings(style: StyleSpec, architecture: str, dataset: Dataset, checkpoint: str) -> None:
    """Raise `UsageError` where a network would be judged by other paintings than it knows.

    One that takes its style from a second picture may be judged by any.
    """
    if not isinstance(dataset, StyledDataset):
        raise UsageError(f"the checkpoint {checkpoint} is for style transfer: take a recipe with task = 'style'.")
    if NETWORKS[architecture].second == "style":
        return
    if style.digests != tuple(painting.digest for painting in dataset.paintings):
        found = ", ".join(painting.name for painting in dataset.paintings)
        raise UsageError(
            f"the checkpoint {checkpoint} was taught {', '.join(style.names)}, and --style names {found}, with other "
            "pixels: give the pictures that it was trained with, in that order."
        )
