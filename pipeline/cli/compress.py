"""`deploy compress`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from visiondeploy.pipeline.cli.options import making_options, making_settings, recipe_of, recipe_options


@click.command("compress")
@recipe_options
@making_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(out: Path | None, as_json: bool, **shared: Any) -> None:
    """Make a network smaller, and show what each step did to its parameters, its metric and the time of its engine.

    \b
    deploy compress --model unet --prune 0.6
    deploy compress --model unet --prune 0.6 --separable --precision int8
    deploy compress --model unet --budget latency=0.5x --backend openvino

    The checkpoint in network-compressed/ is what --checkpoint takes; `deploy build` with the same options goes on from
    here.
    """
    from visiondeploy.errors import UsageError
    from visiondeploy.pipeline.cli.building import holding, run, say

    recipe = recipe_of(shared, making_settings(shared))
    if not recipe.compress.steps:
        raise UsageError("nothing is to be compressed: give --prune, --separable or --budget.")
    built = run(recipe, out, "compress")
    with holding(built.report.verdict.checks if built.report else built.record.parity):
        if as_json:
            from visiondeploy.pipeline.folder import BUILD

            click.echo((built.folder / BUILD).read_text(encoding="utf-8"), nl=False)
            return
        if built.report is not None:
            from visiondeploy.benchmarks.report.compression_cells import LAYERS_FILE
            from visiondeploy.benchmarks.report.terminal import print_report

            say("")
            print_report(built.report, sys.stdout)
            say("")
            say(f"report   {built.folder / 'compression' / LAYERS_FILE}")
            say(f"picture  {built.folder / 'compression' / 'pareto.png'}")
        say(f"network  {built.folder / 'network-compressed'}")
