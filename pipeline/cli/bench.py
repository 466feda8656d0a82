"""`deploy bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from visiondeploy.pipeline.cli.options import Seconds, threads_option


@click.command("bench")
@click.argument("builds", nargs=-1, type=click.Path(path_type=Path), metavar="[BUILD]...")
@click.option("--images", type=click.IntRange(min=1), help="How many images quality is measured on [default: all].")
@click.option("--seconds", type=Seconds(min=1), help="Time for the latency measurement.")
@threads_option
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where report and pictures go.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(
    builds: tuple[Path, ...],
    images: int | None,
    seconds: float | None,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare the engines of BUILDs with PyTorch, or with the ONNX file that they are of.

    Compared are accuracy, agreement, latency and memory. Without BUILD, all builds in builds/ that share the newest
    one's network. Baseline and engines run in shuffled turns in one run, with equal threads; speed-ups are ratios with
    a 95 % interval.
    """
    from visiondeploy.benchmarks.report.terminal import print_report
    from visiondeploy.pipeline.bench import bench
    from visiondeploy.pipeline.cli.building import called, holding, say
    from visiondeploy.pipeline.cli.display import Display

    with Display() as display:
        done = bench(builds, images, seconds, threads, out, display, command=called())
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
