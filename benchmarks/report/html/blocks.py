"""What a section is made of, each with the part of the template that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from visiondeploy.benchmarks.report.html.tables import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot twice, as it is to be seen on a wide window and on a phone, and what stands below."""

    kind: ClassVar = "figure"
    wide: Markup
    narrow: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class Tabular:
    """A table."""

    kind: ClassVar = "table"
    table: Table


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    kind: ClassVar = "prose"
    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences; `look` is a class."""

    kind: ClassVar = "points"
    lines: tuple[str, ...]
    look: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms and what is said of each."""

    kind: ClassVar = "terms"
    pairs: tuple[tuple[str, str], ...]
    look: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """What is seen when its line is opened, and in print."""

    kind: ClassVar = "fold"
    line: str
    blocks: tuple[Block, ...]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """What has a template of its own."""

    kind: ClassVar = "ready"
    markup: Markup


Block = Figure | Tabular | Prose | Heading | Points | Terms | Fold | Ready
