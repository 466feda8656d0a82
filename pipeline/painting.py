"""The data of a recipe with the paintings that it names, and what a network is to know of them."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.errors import EnvironmentMismatch, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.models.data.styled import PhotographDataset, StyledDataset, read_painting
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.features import features_digest
from visiondeploy.models.settings import StyleSettings
from visiondeploy.models.spec import NetworkSpec, StyleSpec
from visiondeploy.models.table import NETWORKS
from visiondeploy.models.tasks.table import task_entry
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.types import Dataset

DEFAULT_SIZE = 512
DEFAULT_FEATURES = "mobilenet"


def dataset_of(recipe: Recipe, taught: StyleSpec | None = None) -> Dataset:
    """The recipe's data set, for a styled task with its paintings, as large as the recipe or a taught network has them.

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
    if taught is None and recipe.model.checkpoint is not None:
        taught = read_spec(Path(recipe.model.checkpoint)).style
    size = recipe.style.size or (taught.size if taught else DEFAULT_SIZE)
    return StyledDataset(found, [read_painting(Path(name), size) for name in recipe.style.images])


def new_style(settings: StyleSettings, architecture: str, dataset: Dataset) -> StyleSpec | None:
    """What a new network is to paint like; None where the data set has no paintings.

    Raises as `features_digest`, and `UsageError` for several paintings and a network that paints like one.
    """
    if not isinstance(dataset, StyledDataset):
        return None
    if NETWORKS[architecture].second is None and len(dataset.paintings) > 1:
        raise UsageError(
            f"network '{architecture}' knows one style, and --style names {len(dataset.paintings)} paintings: name "
            "one, or take --set model.name=style-multi."
        )
    features = settings.features or DEFAULT_FEATURES
    return StyleSpec(
        names=tuple(painting.name for painting in dataset.paintings),
        digests=tuple(painting.digest for painting in dataset.paintings),
        features=features,
        weights=features_digest(features),
        size=settings.size or DEFAULT_SIZE,
    )


def held_against(settings: StyleSettings, dataset: Dataset) -> StyleSpec:
    """What the pictures of somebody else's network are judged by: a painting if there is one, features if these are.

    Raises `UsageError` for several paintings, and as `features_digest` for features that the recipe names.
    """
    paintings = dataset.paintings if isinstance(dataset, StyledDataset) else ()
    if len(paintings) > 1:
        raise UsageError(
            f"style.images names {len(paintings)} pictures, expected one: the network paints in one style."
        )
    features = settings.features or DEFAULT_FEATURES
    try:
        weights = features_digest(features)
    except EnvironmentMismatch:
        if settings.features is not None:
            raise
        weights = None
    return StyleSpec(
        names=tuple(painting.name for painting in paintings),
        digests=tuple(painting.digest for painting in paintings),
        features=features if weights else None,
        weights=weights,
        size=settings.size or DEFAULT_SIZE,
    )


def taught_style(settings: StyleSettings, spec: NetworkSpec, dataset: Dataset, checkpoint: str) -> StyleSpec | None:
    """What a checkpoint paints like, judged as the recipe says; None for one that is of another task.

    Raises `UsageError` where it would be judged by other paintings than it knows, unless it takes its style from a
    second picture; that one is then said to know those that it is judged by. Raises as `features_digest`.
    """
    if spec.style is None:
        return None
    if not isinstance(dataset, StyledDataset):
        raise UsageError(f"the checkpoint {checkpoint} is for style transfer: take a recipe with task = 'style'.")
    names, digests = zip(*((painting.name, painting.digest) for painting in dataset.paintings), strict=True)
    if NETWORKS[spec.architecture].second != "style" and spec.style.digests != digests:
        raise UsageError(
            f"the checkpoint {checkpoint} was taught {', '.join(spec.style.names)}, and --style names "
            f"{', '.join(names)}, with other pixels: give the pictures that it was trained with, in that order."
        )
    features = settings.features or spec.style.features
    return spec.style.model_copy(
        update={
            "names": names,
            "digests": digests,
            "features": features,
            "weights": features_digest(features) if settings.features else spec.style.weights,
            "size": settings.size or spec.style.size,
        }
    )
