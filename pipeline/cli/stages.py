"""`deploy train`, `export` and `compile`: the first stages of `deploy build`, for one who wants no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from visiondeploy.pipeline.cli.options import making_options, making_settings, recipe_of, recipe_options


@click.command("train")
@recipe_options
def train(out: Path | None, **shared: Any) -> None:
    """Train a network and print the folder of its checkpoint, which --checkpoint takes."""
    from visiondeploy.pipeline.cli.building import run

    click.echo(run(recipe_of(shared), out, "train").folder / "network")


@click.command("export")
@recipe_options
def export(out: Path | None, **shared: Any) -> None:
    """Train or load a network, and print the folder of its ONNX and TorchScript files, checked against PyTorch."""
    from visiondeploy.pipeline.cli.building import hold, run

    built = run(recipe_of(shared), out, "export")
    click.echo(built.folder / "onnx-fp32")
    hold(built.record.parity)


@click.command("compile")
@recipe_options
@making_options
def compile_(out: Path | None, **shared: Any) -> None:
    """All stages but the measurement: print the folders of the engines."""
    from visiondeploy.pipeline.cli.building import hold, run

    built = run(recipe_of(shared, making_settings(shared)), out, "compile")
    for engine in built.record.engines:
        click.echo(built.folder / engine.folder)
    hold(built.record.parity)
