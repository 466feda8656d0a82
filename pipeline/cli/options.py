"""The options that every command with a recipe shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from visiondeploy.errors import UsageError

if TYPE_CHECKING:
    from visiondeploy.pipeline.recipe import Recipe

Command = TypeVar("Command", bound=Callable[..., Any])


class Size(click.ParamType):  # type: ignore[type-arg]
    """HEIGHTxWIDTH, for example 360x480."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two positive integers."""
        if isinstance(value, tuple):
            return value[0], value[1]
        parts = str(value).lower().replace("×", "x").split("x")
        if len(parts) == 2 and all(part.isdecimal() and len(part) < 10 and int(part) > 0 for part in parts):
            return int(parts[0]), int(parts[1])
        return self.fail(f"'{value}' is not a size: write HEIGHTxWIDTH in pixels, for example 360x480.", param, ctx)


class Seconds(click.FloatRange):
    """A time that ends: a range alone lets NaN and infinity through."""

    name = "seconds"
    wanted = "no time: write seconds, as 60."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A finite number in the range."""
        found: float = super().convert(value, param, ctx)
        return found if math.isfinite(found) else self.fail(f"{value} is {self.wanted}", param, ctx)


class Decibels(Seconds):
    """A finite ratio in decibels."""

    name = "dB"
    wanted = "no ratio: write decibels, as 20."


threads_option = click.option(
    "--threads", type=click.IntRange(min=1, max=1024), help="Threads for every runtime, PyTorch included."
)

RECIPE_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--model",
        metavar="NAME|FILE.onnx",
        help="The network, by the name of its recipe (see `deploy models`), or an ONNX file of anybody's.",
    ),
    click.option("--task", metavar="NAME", help="What an ONNX file is for: style."),
    click.option("--recipe", "recipe_file", type=click.Path(path_type=Path), help="A recipe of your own, TOML."),
    click.option("--dataset", metavar="SPEC", help='"synthetic" or "folder:PATH".'),
    click.option(
        "--style",
        "styles",
        multiple=True,
        metavar="PICTURE",
        help="A painting, for style transfer; may be given again for a network of several styles.",
    ),
    click.option("--checkpoint", metavar="FOLDER", help="Take this trained network instead of training one."),
    click.option("--size", type=Size(), help="Input size of the network."),
    threads_option,
    click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set any field of the recipe."),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="The build's folder [default: builds/NAME]."),
)


def recipe_options(command: Command) -> Command:
    """Add the shared options to a command."""
    for option in reversed(RECIPE_OPTIONS):
        command = option(command)
    return command


PRECISION_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--precision", metavar="P", help="fp32, fp16, int8, or fp8 (TensorRT)."),
    click.option("--backend", metavar="NAME", help='A backend, or "auto": the fastest that passes parity.'),
    click.option(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="Largest loss of the metric; with int8, keep as many layers in float as that takes.",
    ),
    click.option("--ranges", metavar="FILE", help="Quantise with the ranges.json of `deploy calibrate`."),
    click.option("--qat", metavar="STEPS", type=click.IntRange(min=0), help="Steps of fine-tuning for int8 before."),
    click.option(
        "--io",
        metavar="TYPE",
        help="float32: normalised images in, logits out. uint8: raw images N×H×W×3 in, class maps N×H×W out.",
    ),
    click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="SM",
        help="A GPU that tensorrt-rtx builds for, as sm_86; may be given again [default: all from Ampere on, for "
        "fp8 from Ada on].",
    ),
    click.option(
        "--allow-fallback",
        is_flag=True,
        help="Only warn where TensorRT computes a layer in a wider type than its graph asks for.",
    ),
)


def precision_options(command: Command) -> Command:
    """Add precision, backend and fine-tuning to a command."""
    for option in reversed(PRECISION_OPTIONS):
        command = option(command)
    return command


def precision_settings(given: dict[str, Any]) -> dict[str, object]:
    """The fields that `precision_options` stand for, taken out of what click gave."""
    max_drop = given.pop("max_drop")
    return {
        "precision": given.pop("precision"),
        "backend": given.pop("backend"),
        "limits.max_drop": max_drop,
        "calibration.mixed": None if max_drop is None else True,
        "calibration.ranges": given.pop("ranges"),
        "qat.steps": given.pop("qat"),
        "export.io": given.pop("io"),
        "engine.targets": given.pop("targets") or None,
        "engine.allow_fallback": given.pop("allow_fallback") or None,
    }


COMPRESS_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--prune", type=float, metavar="SHARE", help="Remove channels with this share of the parameters."),
    click.option(
        "--separable/--no-separable", default=None, help="Make k×k convolutions depthwise-separable, where it saves."
    ),
    click.option(
        "--distil/--no-distil", default=None, help="Fine-tune with the uncompressed network as the teacher [default]."
    ),
    click.option(
        "--budget",
        metavar="B",
        help="What the compressed network may cost: latency=0.5x, latency=20ms, params=0.2x, macs=3G …",
    ),
    click.option(
        "--finetune", metavar="STEPS", type=click.IntRange(min=0), help="Steps of fine-tuning after each step."
    ),
)


def compress_options(command: Command) -> Command:
    """Add compression to a command."""
    for option in reversed(COMPRESS_OPTIONS):
        command = option(command)
    return command


def making_options(command: Command) -> Command:
    """Add all that decides how an engine is made of a network: compression, precision, backend."""
    return precision_options(compress_options(command))


def making_settings(given: dict[str, Any]) -> dict[str, object]:
    """The fields that `making_options` stand for, taken out of what click gave."""
    return precision_settings(given) | {
        "compress.prune": given.pop("prune"),
        "compress.separable": given.pop("separable"),
        "compress.budget": given.pop("budget"),
        "finetune.teach": given.pop("distil"),
        "finetune.steps": given.pop("finetune"),
    }


def refuse(given: Mapping[str, object], reason: str) -> None:
    """Raise `UsageError` for the first option that was given; the keys are click's names of them."""
    for name, value in given.items():
        if value is not None:
            options = {each.name: each.opts[0] for each in click.get_current_context().command.params}
            raise UsageError(f"{options[name]} was given, and {reason}: leave it away.")


def recipe_of(shared: Mapping[str, Any], more: Mapping[str, object] | None = None) -> Recipe:
    """The recipe that a command line means: the shared options as click gave them, and fields by dotted key.

    Raises `UsageError`, or `InputError` for the recipe's file.
    """
    from visiondeploy.pipeline.recipe import resolve

    height, width = shared["size"] or (None, None)
    options: dict[str, object] = {
        "task": shared["task"],
        "data.dataset": shared["dataset"],
        "model.checkpoint": shared["checkpoint"],
        "style.images": shared["styles"] or None,
        "input.height": height,
        "input.width": width,
        "threads": shared["threads"],
        **(more or {}),
    }
    return resolve(shared["model"], shared["recipe_file"], shared["overrides"], options)
