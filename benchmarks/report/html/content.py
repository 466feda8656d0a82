"""What a page is made of, and what its sections are."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from visiondeploy.benchmarks.report.html.blocks import Block, Figure
from visiondeploy.benchmarks.report.html.pictures import Album
from visiondeploy.benchmarks.report.plots import svg
from visiondeploy.benchmarks.report.plots.table import Plot
from visiondeploy.benchmarks.report.schema import Report


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A report, its plots, the pictures to look at, and the command that made it, where these are known."""

    report: Report
    title: str
    plots: dict[str, Plot]
    pictures: Album = field(default_factory=Album)
    command: str | None = None

    def figures(self, name: str, caption: str) -> tuple[Figure, ...]:
        """The plot of that name; none where the report has nothing for it."""
        plot = self.plots.get(name)
        if plot is None:
            return ()
        # Safe: all text in it is escaped.
        wide, narrow = Markup(svg.inline(plot.wide, "wide")), Markup(svg.inline(plot.narrow, "narrow"))
        return (Figure(wide, narrow, caption),)
