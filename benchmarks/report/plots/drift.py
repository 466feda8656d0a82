"""Whether the machine stayed as it was: the median of each block, in the order in which blocks were run."""

from __future__ import annotations

from statistics import median

from visiondeploy.benchmarks.report.cells import number
from visiondeploy.benchmarks.report.plots.lanes import Lanes
from visiondeploy.benchmarks.report.plots.names import called, look
from visiondeploy.benchmarks.report.plots.scales import Linear, Log, log_span
from visiondeploy.benchmarks.report.plots.scene import Disc, Group, Line, Scene, Text
from visiondeploy.benchmarks.report.schema import Report

_HEIGHT = 40.0


def draw(report: Report, width: int) -> Scene | None:
    """A lane for each row with at least two blocks; all lanes have one scale. None without any."""
    rows = [(row, row.latency_ms.blocks) for row in report.rows if row.latency_ms and len(row.latency_ms.blocks) > 1]
    if not rows:
        return None
    names = called(report)
    lanes = Lanes.of([names[row.name] for row, _ in rows], width, _HEIGHT, right=52)
    most = max(len(blocks) for _, blocks in rows)
    scale = Linear(1, max(most, 2), lanes.left + 6, lanes.right - 6)
    ratios = [value / median(blocks) for _, blocks in rows for value in blocks]
    low, high = log_span(ratios, 0.02, least=1.04)
    shapes = lanes.axis(scale, "block, in the order of the run", whole=True)
    for index, (row, blocks) in enumerate(rows):
        top, middle = lanes.upper(index), median(blocks)
        y = Log(low, high, top + _HEIGHT, top)
        role = look(row, report)[1]
        points = tuple((scale(number_of), y(value / middle)) for number_of, value in enumerate(blocks, start=1))
        shapes += lanes.heading(index, " to ".join(_limits(low, high)) if lanes.above and index == 0 else "")
        shapes.append(Line(((lanes.left, y(1)), (lanes.right, y(1))), "muted", 0.8, dashed=True))
        shapes.append(Line(points, role, 1.4))
        shapes += [
            Group(f"block {at}: median {number(value)} ms", (Disc(*point, 2.6, role),))
            for at, (value, point) in enumerate(zip(blocks, points, strict=True), start=1)
        ]
        if not lanes.above and index == 0:
            shapes += [
                Text(width, at, said, 10, "end", role="muted")
                for at, said in zip((top + _HEIGHT - 1, top + 10), _limits(low, high), strict=True)
            ]
    said = "; ".join(f"{names[row.name]} {number(min(blocks))} to {number(max(blocks))} ms" for row, blocks in rows)
    return Scene(width, lanes.total, f"Medians of blocks over the run. {said}.", tuple(shapes))


def _limits(low: float, high: float) -> tuple[str, str]:
    """What the lower and the upper edge of a lane stand for."""
    lower, upper = (f"{(ratio - 1) * 100:+.0f} %".replace("-", "−") for ratio in (low, high))
    return lower, upper
