"""`deploy train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from visiondeploy.pipeline.cli.options import recipe_of, recipe_options


@click.command("train")
@recipe_options
def command(out: Path | None, **shared: Any) -> None:
    """Train a network and write its checkpoint: the first stage of `deploy build`."""
    from visiondeploy.pipeline.cli.building import run

    built = run(recipe_of(shared), out, "train")
    click.echo(built.folder / "network")
