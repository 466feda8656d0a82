"""`deploy bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visiondeploy.pipeline.cli.gating import deciding, gate_options, judgement, refuse_without_gate, store_reference
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
@click.option(
    "--base",
    "bases",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="BUILD",
    help="A build of the commit before, measured in the same run and compared in pairs; may be given again.",
)
@click.option(
    "--gate", "suite", metavar="NAME|FILE", help="Judge by the limits of a suite: demo, camvid, style, a file."
)
@gate_options
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
    bases: tuple[Path, ...],
    suite: str | None,
    reference: Path | None,
    update: bool,
    allow_inconclusive: bool,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> None:
    """Compare the engines of BUILDs with PyTorch, or with the ONNX file that they are of.

    Compared are accuracy, agreement, latency and memory. Without BUILD, all builds in builds/ that share the newest
    one's network. Baseline and engines run in shuffled turns in one run, each in a process of its own, with equal
    threads; speed-ups are ratios with a 95 % interval.
    """
    from visiondeploy.benchmarks.history import check_name
    from visiondeploy.benchmarks.report.headline import headline
    from visiondeploy.benchmarks.report.terminal import print_report
    from visiondeploy.pipeline.asked import Asked
    from visiondeploy.pipeline.bench import bench
    from visiondeploy.pipeline.cli.building import called, holding, say
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.gating import open_report
    from visiondeploy.pipeline.keeping import keep

    if save is not None:
        check_name(save)
    how = None
    if suite is not None:
        how = judgement(suite, reference, update, allow_inconclusive, junit, summary)
        wanted = how.gate.suite.measure
        images, seconds, threads = images or wanted.images, seconds or wanted.seconds, threads or wanted.threads
    else:
        refuse_without_gate(
            {
                "reference": reference,
                "update": update,
                "allow_inconclusive": allow_inconclusive,
                "junit": junit,
                "summary": summary,
            }
        )
    asked = Asked(scenarios, scenario_seconds, bound_ms, pin, add, profile)
    with Display() as display:
        gate = None if how is None else how.gate
        done = bench(builds, images, seconds, threads, out, display, asked, called(), bases=bases, gate_by=gate)
    kept = keep(done.report, save, done.validation, history) if save is not None else None
    with holding(done.report.verdict.checks) if how is None else deciding(done.report, how):
        if as_json:
            # As bytes: JSON is UTF-8, whatever the terminal is.
            click.echo(done.report.to_json().encode(), nl=False)
        elif str(summary) != "-":
            if how is not None:
                click.echo(headline(done.report.verdict))
            print_report(done.report, sys.stdout)
        say("")
        say(f"report   {done.folder / 'report.json'}")
        say(f"         {done.folder / 'report.md'}")
        say(f"page     {done.folder / 'report.html'}")
        if done.pictures:
            say(f"pictures {done.pictures}")
        if kept is not None:
            say(f"history  {kept}")
        if how is not None:
            store_reference(open_report(done.folder), done.report, how)
