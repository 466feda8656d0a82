"""`deploy push` and `deploy pull`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from visiondeploy.pipeline.registry.transfer import Transferred

# 1: schema, name, version, reference, files, size
SCHEMA = "visiondeploy.transfer/1"

_plain_http = click.option(
    "--plain-http", is_flag=True, help="Use HTTP without TLS; a registry on this machine is asked that way anyway."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON on stdout.")


@click.command("push")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("reference", metavar="HOST/NAME:TAG")
@_plain_http
@_as_json
def push(bundle: Path, reference: str, plain_http: bool, as_json: bool) -> None:
    """Put a BUNDLE into an OCI registry; prints HOST/NAME@DIGEST, which names it and no other.

    \b
    deploy push unet.bundle registry.example.com/vision/unet:1

    Every file keeps the digest that the bundle lists. Logins are docker's (`docker login HOST`).
    """
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.registry import transfer

    with Display() as display:
        done = transfer.push(bundle, reference, display, plain_http=plain_http)
    _print(done, as_json)


@click.command("pull")
@click.argument("reference", metavar="HOST/NAME:TAG|@DIGEST")
@click.option(
    "-o",
    "--out",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="A new folder, or one file (.tar.zst).",
)
@click.option("--key", type=click.Path(path_type=Path), help="The public key of whoever has to have signed it.")
@_plain_http
@_as_json
def pull(reference: str, target: Path, key: Path | None, plain_http: bool, as_json: bool) -> None:
    """Get a bundle out of an OCI registry into the folder OUT, checked byte for byte.

    \b
    deploy pull registry.example.com/vision/unet:1 -o unet.bundle --key signer.pub

    What a tag leads to is the registry's word: give a digest or a key where that is not enough.
    """
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.registry import transfer

    with Display() as display:
        done = transfer.pull(reference, target, display, key=key, plain_http=plain_http)
    _print(done, as_json)


def _print(done: Transferred, as_json: bool) -> None:
    if as_json:
        click.echo((json.dumps({"schema": SCHEMA, **asdict(done)}, indent=1) + "\n").encode(), nl=False)
    else:
        click.echo(done.reference)
