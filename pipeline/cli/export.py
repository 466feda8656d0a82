"""`deploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from visiondeploy.pipeline.cli.options import recipe_of, recipe_options


@click.command("export")
@recipe_options
def command(out: Path | None, **shared: Any) -> None:
    """Train or load a network and export it to ONNX and TorchScript, both checked against PyTorch."""
    from visiondeploy.pipeline.cli.building import run

    built = run(recipe_of(shared), out, "export")
    click.echo(built.folder / "onnx-fp32")
