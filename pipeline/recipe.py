"""A recipe: a TOML file, validated once into a frozen object that says what to build and what it must hold.

The values come from a recipe file or a packaged recipe, then from the options of the command line, then
from `--set section.key=value`; the last one wins. All of it is checked at once, strictly: "5" is not 5.
"""

from __future__ import annotations

import copy
import importlib.resources
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.models.compression.settings import CompressSettings
from visiondeploy.models.reading import parse_toml, read_toml
from visiondeploy.models.settings import AugmentSettings, FinetuneSettings, QatSettings, StyleSettings, TrainSettings
from visiondeploy.models.spec import ONNX, Io
from visiondeploy.pipeline.complaints import Keypath, Origins, complaint, dotted
from visiondeploy.pipeline.engine import EngineSettings
from visiondeploy.pipeline.toml import write_toml
from visiondeploy.types import Precision, Settings

Option = bool | int | float | str


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            "expected a name of 1 to 64 letters, digits, '.', '_' and '-' that begins with a letter or digit"
        )
    return value


def default_threads() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Name = Annotated[str, AfterValidator(_plain_name)]

OF_MODULES = frozenset({"train", "augment", "compress", "finetune", "qat", "export"})
"""Sections that say what becomes of a PyTorch module."""

OF_WEIGHTS = frozenset({("model", "options"), ("model", "checkpoint"), ("model", "start")})

OF_FILES: dict[str, Any] = {"calibration": {"images": 16}, "bench": {"images": 32, "latency": {"seconds": 20}}}
"""The recipe of an ONNX file that `--model` names."""
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]


class ModelSettings(Settings):
    """The network: its name in the table, its own options, and a checkpoint to take instead of training one.

    `start` is a checkpoint of the same network whose weights training begins with, whatever it was taught.

    Instead of both there may be `onnx`, an ONNX file of somebody else, which is taken as it is; its name is "onnx".
    `feeds` has what its inputs beside the image are fed, a number for all elements or each of them in C order, and
    `black_white` what is black and what white in the picture that it gives; without it an image says which of 0 … 1,
    −1 … 1 and 0 … 255.
    """

    name: Name
    checkpoint: Text | None = None
    start: Text | None = None
    options: dict[str, Option] = Field(default_factory=dict)
    onnx: Text | None = None
    feeds: dict[str, float | tuple[float, ...]] = Field(default_factory=dict)
    black_white: tuple[float, float] | None = None


class DataSettings(Settings):
    """The data set: its name in the table of data sets, its own options, and which split is for what.

    `sensitivity` is what calibration.mixed judges by; without it, images of the calibration split that are not in
    the calibration set. It is never `val`, on which the result is confirmed.
    """

    dataset: Text = "synthetic"
    train: Text = "train"
    val: Text = "val"
    calibration: Text = "train"
    sensitivity: Text | None = None
    options: dict[str, Option | tuple[Option, ...]] = Field(default_factory=dict)


class InputSettings(Settings):
    """The network's input in pixels, and its normalisation: value = (pixel / 255 − mean) / std, per channel.

    Without height and width the input has the checkpoint's size, or else that of the first training image.
    """

    height: Annotated[int, Field(gt=0, le=16384)] | None = None
    width: Annotated[int, Field(gt=0, le=16384)] | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)


class ExportSettings(Settings):
    """The ONNX file: its opset, and whether height and width are free (the batch always is).

    With `io` "uint8" the engines, and the PyTorch baseline, take raw images N×H×W×3 and give class maps N×H×W.
    """

    opset: Annotated[int, Field(ge=18, le=25)] = 20
    dynamic_size: bool = False
    io: Io = "float32"


class LimitSettings(Settings):
    """What each stage and the engine have to hold.

    `agreement` is the smallest share of pixels whose class agrees after conversion or quantisation, the
    `…_sqnr_db` the smallest signal-to-quantisation-noise ratio of a stage to the one before, in dB, on
    `parity_images` images; `io_agreement` is the smallest share of pixels whose class stays when raw images are put
    into the graph: the runtime and the weights are the same, so that it holds of random ones too. `max_drop` is the
    largest loss of the metric against PyTorch, in points (of 100), `max_rise` the largest rise of a metric of which
    less is better, in percent of PyTorch's. `ssim` is the smallest structural similarity of pictures to PyTorch's own.
    `worst_class_drop` is the largest loss of any single class, in points, `min_speedup` the smallest speed-up over
    PyTorch; None for no such limit.
    With `strict` the build also fails where a layer does not compute in the precision that was asked for.
    """

    agreement: Annotated[float, Field(ge=0, le=1)] = 0.98
    export_sqnr_db: float = 60.0
    convert_sqnr_db: float = 40.0
    quantise_sqnr_db: float = 15.0
    compile_sqnr_db: float = 30.0
    io_agreement: Annotated[float, Field(ge=0, le=1)] = 0.999
    parity_images: Annotated[int, Field(ge=1)] = 4
    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    max_rise: Annotated[float, Field(ge=0)] = 3.0
    ssim: Annotated[float, Field(ge=0, le=1)] = 0.95
    worst_class_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    strict: bool = False

    def margin(self, *, smaller: bool) -> float:
        """What may be lost of a metric: percent of the baseline's where smaller is better, else points."""
        return self.max_rise if smaller else self.max_drop


class Recipe(Settings):
    """Everything that decides a build.

    A new section is a `Settings` class and one line here; each of its fields is then reached by files and
    `--set`, and has its error sentences. A field that may be None has None for its default: TOML has no null.
    """

    name: Name
    task: Name
    precision: Precision = Precision.FP32
    backend: Name = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=default_threads)

    model: ModelSettings
    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    style: StyleSettings = StyleSettings()
    compress: CompressSettings = CompressSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    qat: QatSettings = QatSettings()
    export: ExportSettings = ExportSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    engine: EngineSettings = EngineSettings()
    bench: BenchSettings = BenchSettings()
    limits: LimitSettings = LimitSettings()

    def to_toml(self) -> str:
        """The whole recipe with all defaults, as TOML that `parse_recipe` reads back into an equal recipe."""
        return write_toml(self.model_dump(mode="json", exclude_none=True))


def row_name(recipe: str, label: str, precision: Precision, backend: str) -> str:
    """What an engine's row is called in a report; `label` is what was done to the network, empty for nothing."""
    return "-".join(part for part in (recipe, label, precision.value, backend) if part)


def available_recipes() -> tuple[str, ...]:
    """The names of the packaged recipes, sorted."""
    files = (Path(entry.name) for entry in _packaged().iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))


def load_recipe(source: Path | str) -> Recipe:
    """A recipe from a file, or a packaged one by its name.

    Text with a "/" or that ends in ".toml" is a file's path. Raises `InputError` where the file cannot be
    read or is not TOML in UTF-8, `UsageError` for an unknown name, unknown keys and wrong values.
    """
    named = isinstance(source, str) and not ("/" in source or source.endswith(".toml"))
    return resolve(str(source), None, (), {}) if named else resolve(None, Path(source), (), {})


def parse_recipe(text: str, origin: str) -> Recipe:
    """A recipe from the text of a TOML file; `origin` names it in errors. Raises as `load_recipe`."""
    return _validate(parse_toml(text, origin), Origins(origin, {}))


def resolve(
    model: str | None,
    recipe_file: Path | None,
    overrides: Sequence[str],
    options: Mapping[str, object],
) -> Recipe:
    """The recipe of a call: `--model` (a packaged recipe) or `--recipe`, then `options`, then `--set`.

    `options` maps dotted keys to values from the command line's own options; None is one that was not given.
    `overrides` are "section.key=value": a TOML value, or else plain text. Raises as `load_recipe`,
    `UsageError` also where both or none of the first two are given.
    """
    data, source = _base(model, recipe_file)
    origins: dict[Keypath, str] = {}
    if model is not None and is_file(model):
        _put(data, ("model", "onnx"), model, "--model", origins)
    for key, value in options.items():
        if value is not None:
            _put(data, tuple(key.split(".")), _plain(value), "command line", origins)
    for override in overrides:
        path, value = _parse_override(override)
        _put(data, path, value, f"--set {_short(override)}", origins)
    if model is not None and is_file(model) and "task" not in data:
        raise UsageError(f"{_short(model)} does not say what it is for: add --task style.")
    recipe = _validate(data, Origins(source, origins))
    _check_given(recipe, origins)
    return recipe


def _check_given(recipe: Recipe, origins: Mapping[Keypath, str]) -> None:
    """Raise `UsageError` for a value of the command line that has no effect with the rest of the recipe."""
    if recipe.model.onnx is not None:
        _refuse(
            origins,
            lambda place: place[0] in OF_MODULES or place[:2] in OF_WEIGHTS,
            f"is for networks that are trained and exported here, and {_short(recipe.model.onnx)} is taken as it is, "
            "with no weights to train: leave one of the two away.",
        )
    if not recipe.compress.steps:
        _refuse(
            origins,
            lambda place: place[0] == "finetune" or (place[0] == "compress" and place[1:] != ("separable",)),
            "is for compression, and nothing is to be compressed: add --prune, --separable or --budget, or leave it "
            "away.",
        )
    if recipe.model.checkpoint is not None:
        training = {"train"} if recipe.qat.steps or recipe.compress.steps else {"train", "augment"}
        _refuse(
            origins,
            lambda place: place[0] in training or place[:2] in {("model", "options"), ("model", "start")},
            f"is for training, but the network comes from the checkpoint {_short(recipe.model.checkpoint)}: leave one "
            "of the two away.",
        )


def _refuse(origins: Mapping[Keypath, str], concerns: Callable[[Keypath], bool], why: str) -> None:
    for place, origin in origins.items():
        if concerns(place):
            raise UsageError(f"{origin}: {dotted(place)} {why}")


def is_file(model: str) -> bool:
    """Whether `--model` names an ONNX file, not a recipe."""
    return model.lower().endswith(".onnx")


def _packaged() -> Traversable:
    return importlib.resources.files("visiondeploy.pipeline") / "recipes"


def _base(model: str | None, recipe_file: Path | None) -> tuple[dict[str, Any], str]:
    if model is not None and recipe_file is not None:
        raise UsageError(
            "--model and --recipe were both given, expected is one: a recipe names its network itself "
            "(model.name); leave --model away."
        )
    if recipe_file is not None:
        return read_toml(recipe_file)[0], str(recipe_file)
    if model is None:
        raise UsageError(
            f"neither --model nor --recipe was given: give --model with one of {', '.join(available_recipes())} or an "
            "ONNX file, or --recipe with a TOML file."
        )
    if is_file(model):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem).lstrip("._-")
        return {"name": plain[:64] or ONNX, **copy.deepcopy(OF_FILES)}, "--model"
    if model not in available_recipes():
        raise unknown_name("network", _short(model), available_recipes())
    text = (_packaged() / f"{model}.toml").read_text(encoding="utf-8")
    return parse_toml(text, f"recipe '{model}'"), f"recipe '{model}'"


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    key, equals, text = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        found = "has no '='" if not equals else "has an empty key"
        raise UsageError(f"--set {_short(override)} {found}: write it as section.key=value, as in limits.max_drop=0.5.")
    text = text.strip()
    try:
        parsed = tomllib.loads(f"value = {text}")
        # A line break in the text could bring more keys, and a date is text to a recipe.
        value = parsed["value"] if len(parsed) == 1 and isinstance(parsed["value"], Option | list | dict) else text
    except (ValueError, RecursionError):
        value = text
    return path, _plain(value)


def _short(text: str) -> str:
    """Text of the command line on one line of a message."""
    clean = "".join(character if character.isprintable() else "�" for character in text)
    return clean if len(clean) <= 80 else clean[:80] + "…"


def _plain(value: object) -> Any:
    """A value as TOML has it: options also bring paths, enums and tuples."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, Option) else str(value)


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any, origin: str, origins: dict[Keypath, str]) -> None:
    """Set one value; a section is merged, so that its other keys stay."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _put(data, (*path, name), item, origin, origins)
        return
    try:
        "".join((*path, *([value] if isinstance(value, str) else []))).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{origin}: {dotted(path)} is not UTF-8: write it in UTF-8.") from None
    section = data
    for part in path[:-1]:
        if not isinstance(section.get(part), dict):
            section[part] = {}
        section = section[part]
    section[path[-1]] = value
    origins[path] = origin


def _validate(data: Mapping[str, Any], origins: Origins) -> Recipe:
    model, size = data.get("model"), data.get("input", {})
    if isinstance(model, dict) and "onnx" in model and isinstance(size, dict):
        # Of somebody else's network pixels / 255 are the likeliest, not ImageNet's normalisation.
        plain = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
        data = {**data, "model": {"name": ONNX, **model}, "input": {**plain, **size}}
    try:
        # As JSON, because strict JSON takes "fp16" for an enum and a list for a tuple, but no "5" for 5.
        return Recipe.model_validate_json(json.dumps(_plain(data)), strict=True)
    except ValidationError as error:
        raise complaint(Recipe, error, origins) from None
    except ValueError:
        raise UsageError(f"{origins.source}: a number has thousands of digits.") from None
