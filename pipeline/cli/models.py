"""`deploy models`: what exists."""

from __future__ import annotations

import click


@click.command("models")
def command() -> None:
    """List networks, those that come trained, recipes, backends and data sets."""
    from rich.console import Console
    from rich.table import Table

    from visiondeploy.models.data.table import DATASETS
    from visiondeploy.models.shipped import shipped_networks
    from visiondeploy.models.table import NETWORKS
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.recipe import available_recipes

    recipes = available_recipes()
    sections: dict[str, dict[str, str]] = {
        "networks": {
            **{name: f"{entry.summary} ({entry.task})" for name, entry in NETWORKS.items()},
            "FILE.onnx": "anybody's ONNX file, as it is (--task style)",
        },
        "trained networks": {name: f"deploy predict {name} PHOTO -o PICTURE" for name in shipped_networks()},
        "recipes": {name: f"deploy build --model {name}" for name in recipes},
        "backends": {name: ", ".join(sorted(backend.precisions)) for name, backend in BACKENDS.items()},
        "data sets": {name: kind.summary for name, kind in DATASETS.items()},
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for title, entries in sections.items():
        table.add_row(f"[bold]{title}[/]", "")
        for name, text in entries.items():
            table.add_row(f"  {name}", text)
    Console().print(table)
