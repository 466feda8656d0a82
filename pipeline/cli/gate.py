"""`deploy gate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from visiondeploy.pipeline.cli.gating import deciding, gate_options, judgement, store_reference


@click.command("gate")
@click.argument("report", required=False, type=click.Path(path_type=Path), metavar="[REPORT]")
@click.option("--suite", required=True, metavar="NAME|FILE", help="Limits: demo, camvid, style, or a TOML file.")
@gate_options
@click.option("--json", "as_json", is_flag=True, help="Print the report with the suite's verdict as JSON on stdout.")
def command(
    report: Path | None,
    suite: str,
    reference: Path | None,
    update: bool,
    allow_inconclusive: bool,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> None:
    """Judge a REPORT by the limits of a suite: 0 where all hold, 1 where one does not or is not decided.

    REPORT is a report.json, a folder of `deploy bench`, or a build; without it the newest bench in builds/. Nothing is
    measured, but where outputs are wrong and the build is at hand, the layer is looked for.

    \b
    deploy gate builds/bench-unet-synthetic --suite demo
    deploy gate --suite limits.toml --junit gate.xml --summary "$GITHUB_STEP_SUMMARY"
    deploy gate --suite camvid --update     # stores the reference that later runs are compared with
    """
    from visiondeploy.benchmarks.report.headline import headline
    from visiondeploy.benchmarks.report.terminal import print_verdict
    from visiondeploy.pipeline.cli.building import say
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.gating import judge, open_report

    how = judgement(suite, reference, update, allow_inconclusive, junit, summary)
    measured = open_report(report)
    with Display() as display:
        judged = judge(measured, how.gate, display)
    silent = as_json or str(summary) == "-"
    with deciding(judged, how):
        if as_json:
            click.echo(judged.to_json().encode(), nl=False)
        elif not silent:
            click.echo(headline(judged.verdict))
            print_verdict(judged.verdict, sys.stdout)
        if silent:
            say(headline(judged.verdict))
        store_reference(measured, judged, how)
