"""`deploy bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visiondeploy.pipeline.cli.history import DEFAULT_FOLDER
from visiondeploy.pipeline.cli.options import Seconds, threads_option

if TYPE_CHECKING:
    from visiondeploy.benchmarks.scenarios.settings import Name


@click.command("bench")
@click.argument("builds", nargs=-1, type=click.Path(path_type=Path), metavar="[BUILD]...")
@click.option("--images", type=click.IntRange(min=1), help="How many images quality is measured on [default: all].")
@click.option("--seconds", type=Seconds(min=1), help="Time for the latency measurement.")
@threads_option
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(("single-stream", "multi-stream", "offline", "server")),
    help="Also measure how engines do when queries come in this way (after MLPerf); may be given again.",
)
@click.option("--scenario-seconds", type=Seconds(min=0.1), help="Time for one scenario of one engine [default: 20].")
@click.option(
    "--bound-ms",
    type=Seconds(min=0.001),
    help="What a query's latency must not pass in --scenario server [default: thrice its median].",
)
@click.option("--pin", is_flag=True, help="Bind the engines' processes to as many cores as they have threads.")
@click.option(
    "--add",
    type=click.Path(path_type=Path),
    metavar="REPORT.json",
    help="Pool this run with an earlier one of the same engines on the same machine.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where report and pictures go.")
@click.option("--profile", is_flag=True, help="Time each layer too, with the runtimes' own profilers.")
@click.option("--save", metavar="NAME", help="Keep the report in the history of this name, for `deploy history`.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Where histories are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(
    builds: tuple[Path, ...],
    images: int | None,
    seconds: float | None,
    threads: int | None,
    scenarios: tuple[Name, ...],
    scenario_seconds: float | None,
    bound_ms: float | None,
    pin: bool,
    add: Path | None,
    out: Path | None,
    profile: bool,
    save: str | None,
    history: Path,
    as_json: bool,
) -> None:
    """Compare the engines of BUILDs with PyTorch, or with the ONNX file that they are of.

    Compared are accuracy, agreement, latency and memory. Without BUILD, all builds in builds/ that share the newest
    one's network. Baseline and engines run in shuffled turns in one run, each in a process of its own, with equal
    threads; speed-ups are ratios with a 95 % interval.
    """
    from visiondeploy.benchmarks.history import check_name
    from visiondeploy.benchmarks.report.terminal import print_report
    from visiondeploy.pipeline.asked import Asked
    from visiondeploy.pipeline.bench import bench
    from visiondeploy.pipeline.cli.building import called, holding, say
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.keeping import keep

    if save is not None:
        check_name(save)
    asked = Asked(scenarios, scenario_seconds, bound_ms, pin, add, profile)
    with Display() as display:
        done = bench(builds, images, seconds, threads, out, display, asked, called())
    kept = keep(done.report, save, done.validation, history) if save is not None else None
    with holding(done.report.verdict.checks):
        if as_json:
            # As bytes: JSON is UTF-8, whatever the terminal is.
            click.echo(done.report.to_json().encode(), nl=False)
        else:
            print_report(done.report, sys.stdout)
        say("")
        say(f"report   {done.folder / 'report.json'}")
        say(f"         {done.folder / 'report.md'}")
        say(f"page     {done.folder / 'report.html'}")
        if done.pictures:
            say(f"pictures {done.pictures}")
        if kept is not None:
            say(f"history  {kept}")
