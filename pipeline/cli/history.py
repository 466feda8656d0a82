"""`deploy history`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from visiondeploy.benchmarks.history import Kept
    from visiondeploy.benchmarks.trends import Metric, Trend

DEFAULT_FOLDER = Path("benchmarks/history")


@click.command("history")
@click.argument("name", required=False)
@click.option("--metric", default="speedup", show_default=True, metavar="NAME", help='"p50", "size", "miou", …')
@click.option("--rows", default="*", metavar="PATTERN", help='Only rows whose names match: "*-int8-*" [default: all].')
@click.option(
    "--history",
    "folder",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Where histories are kept.",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it, too: a PNG or SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on stdout.")
def command(name: str | None, metric: str, rows: str, folder: Path, plot: Path | None, as_json: bool) -> None:
    """Show a metric over commits, from the reports that `deploy bench --save NAME` kept.

    Without NAME the histories are listed, or shown where there is one. Commits are in the order in which git has them,
    else in that of the runs. Times are compared within one environment alone, accuracy on the same data alone.
    """
    from visiondeploy.benchmarks import history, trends
    from visiondeploy.errors import InputError, UsageError, unknown_name
    from visiondeploy.pipeline.commits import descent_of

    known = history.names(folder)
    if not known:
        raise InputError(f"there is no history in {folder}: keep a run first with `deploy bench --save NAME`.")
    if name is None:
        if len(known) > 1:
            if plot is not None or as_json:
                raise UsageError(f"which history is meant? Name one of {', '.join(known)}.")
            _print_names(folder, known)
            return
        name = known[0]
    if name not in known:
        raise unknown_name("history", name, known)
    found, notes = history.read(folder / name)
    if not found:
        raise InputError(f"no file in {folder / name} is a run that can be read ({notes[0]}): keep one anew.")
    shas = [kept.run.commit.sha for kept in found if kept.run.commit is not None]
    made = trends.trend(name, history.stops(found, descent_of(Path.cwd(), shas)), metric, rows, notes)
    if plot is not None:
        from visiondeploy.benchmarks.report.history_plot import history_plot
        from visiondeploy.benchmarks.report.pareto import save_plot

        save_plot(plot, history_plot(made))
    if as_json:
        click.echo(made.to_json().encode(), nl=False)
    else:
        _print(made)
    if plot is not None:
        from visiondeploy.pipeline.cli.building import say

        say(f"plot     {plot}")


def _print_names(folder: Path, names: list[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from visiondeploy.benchmarks import history
    from visiondeploy.pipeline.cli.console import ONE_LINE, on_stdout

    table = Table("history", "runs", "from", "to", box=box.SIMPLE_HEAD)
    for name in names:
        found, _ = history.read(folder / name)
        days = [f"{kept.run.date:%Y-%m-%d}" for kept in found] or [""]
        table.add_row(*map(Text, (name, str(len(found)), days[0], days[-1])))
    on_stdout(ONE_LINE).print(table)


def _print(found: Trend) -> None:
    from visiondeploy.pipeline.cli.console import ONE_LINE, on_stdout

    better = "less" if found.metric.smaller else "more"
    console = on_stdout(ONE_LINE)
    said = f"{found.name}: {found.metric.title}" + (f" ({better} is better)" if found.metric.directed else "")
    console.print(said, style="bold", markup=False, soft_wrap=True)
    console.print(_table(found))
    for letter, what in found.groups.items():
        console.print(f"  {letter}  {what}", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"  · {note}", markup=False, soft_wrap=True)


def _table(found: Trend) -> Table:
    """A line for each run, a column for each row."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from visiondeploy.benchmarks.report.cells import NOTHING

    rows = list(dict.fromkeys(series.row for series in found.series))
    table = Table("commit", "branch", "date (UTC)", *(["in"] if found.groups else []), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_column(Text(row), justify="right")
    values: dict[tuple[str, str], tuple[str, str]] = {}
    for series in found.series:
        for point in series.points:
            values[series.row, point.kept.file] = (series.group, _shown(found.metric, point.value, point.interval))
    for stop in found.stops:
        for kept in stop.runs:
            cells = [values.get((row, kept.file), ("", NOTHING)) for row in rows]
            groups = ", ".join(sorted({group for group, _ in cells if group}))
            place = [stop.label, _branch(kept), f"{kept.run.date:%Y-%m-%d %H:%M}", *([groups] if found.groups else [])]
            table.add_row(*map(Text, [*place, *(value for _, value in cells)]))
    return table


def _branch(kept: Kept) -> str:
    return (kept.run.commit.branch or "") if kept.run.commit is not None else ""


def _shown(metric: Metric, value: float, interval: tuple[float, float] | None) -> str:
    said = metric.shown(value)
    return f"{said} [{metric.shown(interval[0])}, {metric.shown(interval[1])}]" if interval is not None else said
