"""Quality over latency."""

from __future__ import annotations

from visiondeploy.benchmarks.report.html.content import Content, Section

_CAPTION = (
    "Each engine at its median latency and its quality. Bars are the 95 % interval of the difference to the baseline, "
    "set upon the baseline's value. The pale line is the Pareto front: of engines off it another one is at least as "
    "fast and at least as good."
)


def section(content: Content) -> Section | None:
    """The plot; none where fewer than two engines have both."""
    figures = content.figures("tradeoff", _CAPTION)
    return Section("tradeoff", "Quality over latency", figures) if figures else None
