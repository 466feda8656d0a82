"""Stages as they run, on stderr: live with a bar and the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_SECONDS = 20.0


class _Stderr(Console):
    """A console that falls silent when its reader is gone: a training does not end because `tee` did."""

    def on_broken_pipe(self) -> None:
        """As rich's, without the exit."""
        self.quiet = True


class Display:
    """Shows the events of a build. A context manager, so that the terminal is whole again after an error."""

    def __init__(self) -> None:
        self.console = _Stderr(file=sys.stderr, highlight=False)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._said = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def start(self, stage: str) -> None:
        """A stage begins."""
        self._stage, self._said = stage, time.monotonic()
        self._task = self._live.add_task(stage, total=None, note="")

    def progress(self, done: int, total: int, note: str) -> None:
        """Move the bar; without a terminal, a line now and then."""
        if self._task is not None:
            self._live.update(self._task, completed=done, total=total or None, note=escape(note))
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said > PLAIN_EVERY_SECONDS:
            self._said = now
            count = f"{done} of {total}" if total else f"step {done}"
            self._line(f"  {self._stage}: {count}, {note}")

    def end(self, stage: str, seconds: float, cached: bool, note: str) -> None:
        """The stage's line, which stays."""
        if self._task is not None:
            self._live.remove_task(self._task)
            self._task = None
        how = "[dim]from the store[/]" if cached else f"{seconds:6.1f} s"
        self._line(f"[green]✓[/] {stage:<26} {how:<14}  {escape(note)}", markup=True)

    def tell(self, message: str) -> None:
        """A quiet line."""
        self._line(f"[dim]· {escape(message)}[/]", markup=True)

    def warn(self, message: str) -> None:
        """A sentence that stands out."""
        self._line(f"[yellow]![/] {escape(message)}", markup=True)

    def _line(self, text: str, markup: bool = False) -> None:
        self.console.print(text, markup=markup, soft_wrap=True)
