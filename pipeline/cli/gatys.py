"""`deploy predict --method gatys`: its options, and the run that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.cli.options import Seconds

if TYPE_CHECKING:
    from visiondeploy.models.gatys_settings import GatysSettings
    from visiondeploy.pipeline.picture_files import Existing
    from visiondeploy.pipeline.stylising import Stylisings

Command = TypeVar("Command", bound=Callable[..., Any])


class Weight(Seconds):
    """A finite number."""

    name = "number"
    wanted = "no weight: write a number, as 10."


GATYS_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    # But for the painting, what they are called is a field of `GatysSettings`, which has the defaults.
    click.option(
        "--style",
        type=click.Path(path_type=Path),
        metavar="PAINTING",
        help="A painting; for a network of several styles the name of one.",
    ),
    click.option(
        "--iterations",
        type=click.IntRange(1, 100_000),
        help="Gatys: steps of the optimisation, at all scales together.",
    ),
    click.option("--size", type=click.IntRange(32, 4096), metavar="PIXELS", help="Gatys: the longer side."),
    click.option("--content-weight", type=Weight(min=0, max=1e6), help="Gatys: of being like the photograph."),
    click.option("--style-weight", type=Weight(min=0, max=1e6), help="Gatys: of being like the painting."),
    click.option("--features", metavar="NAME", help="Gatys: the network that compares (see `deploy weights list`)."),
)


def gatys_options(command: Command) -> Command:
    """Add what Gatys's method needs to a command."""
    for option in reversed(GATYS_OPTIONS):
        command = option(command)
    return command


def optimise(source: str, target: str, given: dict[str, Any], threads: int | None, existing: Existing) -> Stylisings:
    """Make the pictures that the options ask for, as click gave them, shown live on stderr. Raises `UsageError`."""
    from visiondeploy.models.cache import default_root
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.recipe import default_threads
    from visiondeploy.pipeline.store import Store
    from visiondeploy.pipeline.stylising import stylise

    painting = given.pop("style")
    if painting is None:
        raise UsageError("--method gatys needs a painting: name its file with --style.")
    with Display() as display:
        return stylise(
            painting,
            source,
            target,
            _settings(given),
            threads=threads or default_threads(),
            existing=existing,
            store=Store(default_root(), on_warning=display.warn, on_wait=display.warn),
            events=display,
        )


def _settings(given: Mapping[str, Any]) -> GatysSettings:
    from pydantic import ValidationError

    from visiondeploy.models.gatys_settings import GatysSettings
    from visiondeploy.models.validation import first_problem

    try:
        return GatysSettings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError(first_problem(error, GatysSettings)) from None
