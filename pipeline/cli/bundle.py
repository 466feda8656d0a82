"""`deploy bundle`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("bundle")
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", "target", type=click.Path(path_type=Path), required=True, metavar="DIR|FILE.tar.zst",
    help="A new folder, or one file.",
)  # fmt: skip
@click.option("--backend", metavar="NAME", help="The engine [default: the build's fastest that passes].")
@click.option("--name", metavar="NAME", help="What servers call the model [default: the build's name].")
@click.option(
    "--version",
    type=click.IntRange(min=1, max=2**31 - 1),
    default=1,
    show_default=True,
    help="Of the model, in Triton.",
)
@click.option("--force", is_flag=True, help="Bundle a build whose verdict is not PASS; the manifest records it.")
@click.option("--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key (PEM).")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest on stdout.")
def command(
    build: Path,
    target: Path,
    backend: str | None,
    name: str | None,
    version: int,
    force: bool,
    key: Path | None,
    as_json: bool,
) -> None:
    """Make of a BUILD's engine a bundle that a serving team can check and load.

    \b
    deploy bundle builds/unet-int8 -o unet-1                    a folder
    deploy bundle builds/unet-int8 -o unet-1.tar.zst            the same as one file
    deploy bundle builds/unet-int8 -o unet-2 --version 2 --sign key.pem

    Engine and ONNX file, Triton's and MLServer's configuration, golden runs, report, model card, SBOM and provenance,
    each with its digest in manifest.json. The same build gives the same bytes.
    """
    from visiondeploy.pipeline.bundle.make import bundle
    from visiondeploy.pipeline.cli.building import say
    from visiondeploy.pipeline.cli.display import Display

    with Display() as display:
        done = bundle(build, target, backend=backend, name=name, version=version, force=force, key=key, events=display)
    if as_json:
        click.echo(done.manifest.to_json(), nl=False)
        return
    click.echo(str(done.path))
    say(f"next     deploy verify {done.path}")
