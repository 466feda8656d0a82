"""The kinds of data set that exist. A new one is one file in this folder and one line here.

The file defines the data set, which implements `visiondeploy.types.Dataset`, and a `Settings` subclass for the
options that a recipe may give it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.models.data.folder import FolderDataset
from visiondeploy.models.data.pictures import PicturesDataset, PicturesSettings
from visiondeploy.models.data.synthetic import SyntheticDataset, SyntheticSettings
from visiondeploy.models.validation import first_problem
from visiondeploy.types import Dataset, Settings

S = TypeVar("S", bound=Settings)


class NoOptions(Settings):
    """For kinds of data set that are all said by their place."""


@dataclass(frozen=True, slots=True)
class DatasetEntry(Generic[S]):
    """How a kind of data set is written, what it is, what options it has, and how it is opened.

    `place` is what follows the name in a spec ("PATH" for "folder:PATH"), None where nothing does; `open` gets
    it, or "", and the validated options.
    """

    place: str | None
    summary: str
    settings: type[S]
    open: Callable[[str, S], Dataset]


def _open_synthetic(place: str, options: SyntheticSettings) -> Dataset:
    return SyntheticDataset(options)


def _open_folder(place: str, options: NoOptions) -> Dataset:
    return FolderDataset(Path(place))


def _open_pictures(place: str, options: PicturesSettings) -> Dataset:
    return PicturesDataset(Path(place), options)


DATASETS: dict[str, DatasetEntry[Any]] = {
    "synthetic": DatasetEntry(None, "a painted country fair, nothing to download", SyntheticSettings, _open_synthetic),
    "folder": DatasetEntry("PATH", "images/, masks/ and a dataset.toml", NoOptions, _open_folder),
    "images": DatasetEntry("PATH", "any folder of pictures, for style transfer", PicturesSettings, _open_pictures),
}


def open_dataset(spec: str, options: Mapping[str, Any]) -> Dataset:
    """The data set of a spec such as "synthetic" or "folder:PATH".

    Raises `UsageError` for a kind that is not in the table, for a place that is missing or one too many, and for
    options that the kind does not have; `InputError` where what lies there is not such a data set.
    """
    kind, separator, place = spec.partition(":")
    if kind not in DATASETS:
        raise unknown_name("data set", kind, DATASETS)
    entry = DATASETS[kind]
    if entry.place is None and separator:
        raise UsageError(f"data set {spec!r} names a place, expected only {kind!r}: leave out ':{place}'.")
    if entry.place is not None and not place:
        raise UsageError(f"data set {spec!r} names no place, expected '{_form(kind)}': add it.")
    try:
        settings = entry.settings.model_validate(dict(options))
    except ValidationError as error:
        raise UsageError(f"options of data set '{kind}': {first_problem(error, entry.settings)}") from None
    return entry.open(place, settings)


def _form(kind: str) -> str:
    place = DATASETS[kind].place
    return kind if place is None else f"{kind}:{place}"
