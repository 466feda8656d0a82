"""What is not as was asked for, to be read before the numbers."""

from __future__ import annotations

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.html.blocks import Points
from visiondeploy.benchmarks.report.html.content import Content, Section


def section(content: Content) -> Section | None:
    """The sentences; none where all is as was asked for."""
    found = cells.surprises(content.report)
    return Section("surprises", "Not as was asked for", (Points(found, "warning"),)) if found else None
