"""`deploy predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.cli.gatys import gatys_options, optimise
from visiondeploy.pipeline.cli.options import refuse, threads_option

if TYPE_CHECKING:
    from visiondeploy.pipeline.picture_files import Existing
    from visiondeploy.pipeline.predicting import Predictions
    from visiondeploy.pipeline.stylising import Stylisings

ENGINE, GATYS = METHODS = ("engine", "gatys")


@click.command("predict")
@click.argument("places", nargs=-1, metavar="[BUILD] IMAGE|FOLDER|-")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=ENGINE,
    show_default=True,
    help="The engine of a build; or gatys, without a build: a painting's style by optimisation, in minutes.",
)
@click.option("-o", "--out", "target", required=True, metavar="OUT", help="A file, a folder, or - for a PNG on stdout.")
@click.option(
    "--output",
    type=click.Choice(["classes", "colours", "overlay"]),
    help="Of a network with classes: their numbers, their colours, or those over the photograph [default: colours].",
)
@click.option("--backend", metavar="NAME", help="The engine that runs [default: the build's fastest].")
@click.option("--tile", type=click.IntRange(min=64, max=16384), metavar="PIXELS", help="Run in tiles of this size.")
@click.option(
    "--batch", type=click.IntRange(min=1, max=4096), help="How many images or tiles run at once [default: 1]."
)
@gatys_options
@threads_option
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--keep", is_flag=True, help="Keep files that are there, and make only what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON on stdout.")
def command(
    places: tuple[str, ...],
    method: str,
    target: str,
    output: str | None,
    backend: str | None,
    tile: int | None,
    batch: int | None,
    threads: int | None,
    overwrite: bool,
    keep: bool,
    as_json: bool,
    **of_gatys: Any,
) -> None:
    """Run the engine of a BUILD on an image, all images in a folder, or one from stdin (-).

    \b
    deploy predict builds/unet-int8 street.jpg -o street.png
    deploy predict builds/unet-int8 photos/ -o overlaid/ --output overlay
    deploy predict builds/style-multi-int8 photo.jpg -o painted.jpg --style starry_night
    deploy predict builds/style-int8/engines/openvino - -o - < photo.jpg > painted.png
    deploy predict builds/style-network/network photo.jpg -o painted.png
    deploy predict --method gatys --style painting.jpg photo.jpg -o painted.png

    BUILD may also be the folder of a checkpoint, whose network runs in PyTorch, or the name of a network that comes
    with the project (`deploy models`). A picture has its image's own size, whatever the network's is.
    """
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.picturing import Output
    from visiondeploy.pipeline.predicting import predict

    if overwrite and keep:
        raise UsageError("--overwrite and --keep were both given: keep one.")
    if as_json and target == "-":
        raise UsageError("--json and -o - both write to stdout: name a file with -o.")
    existing: Existing = "overwrite" if overwrite else "keep" if keep else "refuse"
    if method == GATYS:
        refuse({"output": output, "backend": backend, "tile": tile, "batch": batch}, f"--method {GATYS} runs no engine")
        (source,) = _named(places, "IMAGE")
        _print(optimise(source, target, of_gatys, threads, existing), target, as_json)
        return
    style = of_gatys.pop("style")
    refuse(of_gatys, f"an engine has no use for it, only --method {GATYS}")
    build, source = _named(places, "BUILD", "IMAGE")
    with Display() as display:
        done = predict(
            Path(build),
            source,
            target,
            output=Output(output) if output else None,
            backend=backend,
            tile=tile,
            batch=batch,
            threads=threads,
            style=style and str(style),
            existing=existing,
            events=display,
        )
    try:
        _print(done, target, as_json)
    finally:
        # Also where the reader of stdout left early.
        done.complain()


def _named(places: tuple[str, ...], *wanted: str) -> tuple[str, ...]:
    """The arguments, as many as are wanted. Raises click's errors for one that is missing or too many."""
    if len(places) < len(wanted):
        raise click.UsageError(f"Missing argument '{wanted[len(places)]}'.", click.get_current_context())
    if len(places) > len(wanted):
        extra = places[len(wanted) :]
        raise click.UsageError(
            f"Got unexpected extra argument{'s' if len(extra) > 1 else ''} ({' '.join(extra)})",
            click.get_current_context(),
        )
    return places


def _print(done: Predictions | Stylisings, target: str, as_json: bool) -> None:
    if as_json:
        click.echo(done.to_json().encode(), nl=False)
    elif target != "-":
        for picture in done.pictures:
            if picture.output is not None:
                click.echo(picture.output)
