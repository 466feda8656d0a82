"""`deploy predict`."""

from __future__ import annotations

from pathlib import Path

import click

from visiondeploy.pipeline.cli.options import threads_option


@click.command("predict")
@click.argument("build", type=click.Path(path_type=Path))
@click.argument("source", metavar="IMAGE|FOLDER|-")
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
@threads_option
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--keep", is_flag=True, help="Keep files that are there, and make only what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON on stdout.")
def command(
    build: Path,
    source: str,
    target: str,
    output: str | None,
    backend: str | None,
    tile: int | None,
    batch: int | None,
    threads: int | None,
    overwrite: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Run the engine of a BUILD on an image, all images in a folder, or one from stdin (-).

    \b
    deploy predict builds/unet-int8 street.jpg -o street.png
    deploy predict builds/unet-int8 photos/ -o overlaid/ --output overlay
    deploy predict builds/style-int8/engines/openvino - -o - < photo.jpg > painted.png

    A picture has its image's own size, whatever the network's is.
    """
    from visiondeploy.errors import UsageError
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.picturing import Output
    from visiondeploy.pipeline.predicting import predict

    if overwrite and keep:
        raise UsageError("--overwrite and --keep were both given: keep one.")
    if as_json and target == "-":
        raise UsageError("--json and -o - both write to stdout: name a file with -o.")
    with Display() as display:
        done = predict(
            build,
            source,
            target,
            output=Output(output) if output else None,
            backend=backend,
            tile=tile,
            batch=batch,
            threads=threads,
            existing="overwrite" if overwrite else "keep" if keep else "refuse",
            events=display,
        )
    try:
        if as_json:
            click.echo(done.to_json().encode(), nl=False)
        elif target != "-":
            for picture in done.pictures:
                if picture.output is not None:
                    click.echo(picture.output)
    finally:
        # Also where the reader of stdout left early.
        done.complain()
