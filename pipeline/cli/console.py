"""A console for tables on stdout."""

from __future__ import annotations

import sys

from rich.console import Console

ONE_LINE = 10_000
"""A width at which no row is broken, so that `grep` and `awk` find whole ones."""


def on_stdout(piped_width: int) -> Console:
    """As wide as the terminal, or `piped_width` columns where there is none."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = piped_width
    return console
