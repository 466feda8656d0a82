"""What `build`, `train` and `export` share: run the walk, show it, say what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from visiondeploy.pipeline.build import Built, Until
    from visiondeploy.pipeline.recipe import Recipe


def run(recipe: Recipe, out: Path | None, until: Until) -> Built:
    """Build with the stages shown live on stderr."""
    from visiondeploy.pipeline.build import build
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.store import Store, default_root

    with Display() as display:
        store = Store(default_root(), on_warning=display.warn, on_wait=display.warn)
        return build(recipe, store, out, display, until)


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)
