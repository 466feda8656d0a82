"""What a build tells while it runs. The command line shows it; a library user may pass `Silent`."""

from __future__ import annotations

from typing import Protocol


class Events(Protocol):
    """Told of each stage in order. Every stage that starts either ends or raises."""

    def start(self, stage: str) -> None:
        """A stage begins; it may turn out to be in the store already."""
        ...

    def progress(self, done: int, total: int, note: str) -> None:
        """How far the current stage is."""
        ...

    def end(self, stage: str, seconds: float, cached: bool, note: str) -> None:
        """A stage is done; `note` is what came out, in a few words."""
        ...

    def tell(self, message: str) -> None:
        """Something of use while the stage runs."""
        ...

    def warn(self, message: str) -> None:
        """Something that is not as it should be."""
        ...


class Silent:
    """Says nothing."""

    def start(self, stage: str) -> None:
        """Nothing."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Nothing."""

    def end(self, stage: str, seconds: float, cached: bool, note: str) -> None:
        """Nothing."""

    def tell(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""
