"""What `build`, `train` and `export` share: run the walk, show it, say what came out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from visiondeploy.errors import GateFailed

if TYPE_CHECKING:
    from visiondeploy.benchmarks.report.schema import Check
    from visiondeploy.pipeline.build import Built
    from visiondeploy.pipeline.plan import Until
    from visiondeploy.pipeline.recipe import Recipe


def run(recipe: Recipe, out: Path | None, until: Until) -> Built:
    """Build with the stages shown live on stderr."""
    from visiondeploy.models.cache import default_root
    from visiondeploy.models.launch import launched
    from visiondeploy.pipeline.build import build
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.store import Store

    if launched().rank > 0:
        _follow(recipe, until)
    with Display() as display:
        store = Store(default_root(), on_warning=display.warn, on_wait=display.warn)
        return build(recipe, store, out, display, until)


def _follow(recipe: Recipe, until: Until) -> NoReturn:
    """One of the other processes that `torchrun` started: train along with the first one, then leave the rest to it."""
    from visiondeploy.models.cache import default_root
    from visiondeploy.pipeline.compression import compressed
    from visiondeploy.pipeline.events import Silent
    from visiondeploy.pipeline.ledger import Ledger
    from visiondeploy.pipeline.plan import Plan
    from visiondeploy.pipeline.store import Store
    from visiondeploy.pipeline.walk import Walk

    ledger = Ledger(Plan(recipe), Store(default_root()), Silent())
    if recipe.model.onnx is None:
        Walk(ledger).follow(until, lambda network: compressed(ledger, network))
    sys.exit(0)


def hold(checks: Iterable[Check]) -> None:
    """Raise `GateFailed` for the first check that failed."""
    for check in checks:
        if check.status == "FAIL":
            raise GateFailed(f"{check.name}: {check.found}, limit: {check.limit}.")


@contextmanager
def holding(checks: Iterable[Check]) -> Iterator[None]:
    """As `hold` when the block ends. A broken limit ends with 1 also where the reader of stdout left early."""
    try:
        yield
    finally:
        hold(checks)


def called() -> str:
    """The command as it was typed."""
    return shlex.join(["deploy", *sys.argv[1:]])


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)
