"""`deploy build`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiondeploy.pipeline.cli.options import making_options, making_settings, recipe_of, recipe_options

if TYPE_CHECKING:
    from visiondeploy.pipeline.build import Built


@click.command("build")
@recipe_options
@making_options
@click.option("--strict/--no-strict", default=None, help="Fail where a layer does not compute in the precision.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(out: Path | None, strict: bool | None, as_json: bool, **shared: Any) -> None:
    """Train or load a network, export it, bring it to a precision, compile engines and measure them.

    \b
    deploy build --model unet --precision fp16
    deploy build --model unet --dataset folder:../data/camvid --precision int8 --backend openvino
    deploy build --model unet --precision int8 --io uint8
    deploy build --model unet --precision int8 --prune 0.6 --separable --distil
    deploy build --model painter.onnx --task style --dataset images:photographs --precision int8
    deploy build --recipe mine.toml --set train.steps=4000
    """
    from visiondeploy.pipeline.cli.building import holding, run, say

    recipe = recipe_of(shared, {**making_settings(shared), "limits.strict": strict})
    built = run(recipe, out, "measure")
    report = built.report
    if report is None:
        raise RuntimeError("a build that was measured has a report")
    with holding(report.verdict.checks):
        if as_json:
            from visiondeploy.pipeline.folder import BUILD

            click.echo((built.folder / BUILD).read_text(encoding="utf-8"), nl=False)
        else:
            from visiondeploy.benchmarks.report.terminal import print_report

            say("")
            print_report(report, sys.stdout)
            _say_where(built)


def _say_where(built: Built) -> None:
    """Where the files are, and the next command to try."""
    from visiondeploy.pipeline.cli.building import say

    say("")
    for engine in built.record.engines:
        mark = "  (the fastest)" if engine.backend == built.record.engine and len(built.record.engines) > 1 else ""
        say(f"engine   {built.folder / engine.folder}{mark}")
    say(f"report   {built.folder / 'build.json'}")
    say(f"page     {built.folder / 'report.html'}")
    for events in sorted(built.folder.glob("network*/tensorboard")):
        say(f"training tensorboard --logdir {events}")
    say(f"next     deploy bench {built.folder}")
