"""Pictures to be compared: side by side, and where scripts run two of them under a slider."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.html.blocks import Ready
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.templating import filled


def section(content: Content) -> Section | None:
    """The pictures that came with the report; none where none did."""
    found = content.pictures
    if not found.images:
        return None
    legend = [(plain(name), f"rgb({','.join(map(str, colour))})") for name, colour in found.legend]
    markup = filled(
        "viewer",
        images=found.images,
        legend=legend,
        left_out=found.left_out,
        photographs=any("image/jpeg" in picture.address for row in found.images for picture in row[1:]),
    )
    return Section("pictures", "Pictures", (Ready(markup),))
