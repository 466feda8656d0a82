"""The data of a recipe with the paintings that it names, and what a network is to know of them."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.errors import EnvironmentMismatch, UsageError
from visiondeploy.models.data.styled import PhotographDataset, StyledDataset, read_painting
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

    An ONNX file of somebody else needs none, and can be held against one. Raises `UsageError` as `open_dataset`, for a
    styled task without paintings and for paintings with another task.
    """
    found = open_dataset(recipe.data.dataset, recipe.data.options)
    if not task_entry(recipe.task).styled:
        if recipe.style.images:
            raise UsageError(f"style.images are for style transfer, and the task is {recipe.task}: leave --style away.")
        return found
    if recipe.model.onnx is not None and not recipe.style.images:
        return PhotographDataset(found)
    return StyledDataset(found, [read_painting(Path(name), recipe.style.size) for name in recipe.style.images])


def style_of(settings: StyleSettings, dataset: StyledDataset) -> StyleSpec:
    """What a new network is to paint like. Raises as `features_digest`."""
    feature_entry(settings.features)
    return StyleSpec(
        names=tuple(painting.name for painting in dataset.paintings),
        digests=tuple(painting.digest for painting in dataset.paintings),
        features=settings.features,
        weights=features_digest(settings.features),
        size=settings.size,
    )


def held_against(settings: StyleSettings, dataset: Dataset) -> StyleSpec:
    """What the pictures of somebody else's network are judged by: a painting if there is one, features if these are.

    Raises `UsageError` for several paintings, and for features that are not in the table.
    """
    paintings = dataset.paintings if isinstance(dataset, StyledDataset) else ()
    if len(paintings) > 1:
        raise UsageError(
            f"style.images names {len(paintings)} pictures, expected one: the network paints in one style."
        )
    feature_entry(settings.features)
    try:
        weights = features_digest(settings.features)
    except EnvironmentMismatch:
        weights = None
    return StyleSpec(
        names=tuple(painting.name for painting in paintings),
        digests=tuple(painting.digest for painting in paintings),
        features=settings.features if weights else None,
        weights=weights,
        size=settings.size,
    )


def check_paintings(style: StyleSpec, architecture: str, dataset: StyledDataset, checkpoint: str) -> None:
    """Raise `UsageError` where a network would be judged by other paintings than it knows.

    One that takes its style from a second picture may be judged by any.
    """
    if NETWORKS[architecture].second == "style":
        return
    if style.digests != tuple(painting.digest for painting in dataset.paintings):
        found = ", ".join(painting.name for painting in dataset.paintings)
        raise UsageError(
            f"the checkpoint {checkpoint} was taught {', '.join(style.names)}, and --style names {found}, with other "
            "pixels: give the pictures that it was trained with, in that order."
        )
