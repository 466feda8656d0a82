"""How much faster than the baseline, with intervals; and what the same run finds of the baseline against itself."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import number
from visiondeploy.benchmarks.report.plots.lanes import Lanes
from visiondeploy.benchmarks.report.plots.names import called, look
from visiondeploy.benchmarks.report.plots.scales import Log, log_span
from visiondeploy.benchmarks.report.plots.scene import Group, Line, Marker, Role, Scene, Shape, marker
from visiondeploy.benchmarks.report.schema import Report

NOISE = "baseline, twice (A/A)"


def draw(report: Report, width: int) -> Scene | None:
    """A point and its 95 % interval for each engine; None where no engine has a speed-up."""
    names = called(report)
    found: list[tuple[str, float, tuple[float, float], Marker, Role]] = [
        (names[row.name], row.speedup.value, row.speedup.ci95, *look(row, report))
        for row in report.rows[1:]
        if row.speedup is not None
    ]
    if not found:
        return None
    if report.noise is not None:
        found.append((NOISE, report.noise.value, report.noise.ci95, "diamond", "own"))
    lanes = Lanes.of([name for name, *_ in found], width, 14, right=118)
    values = [1.0, *(value for _, _, bounds, *_ in found for value in bounds)]
    scale = Log(*log_span(values, least=1.5), lanes.left, lanes.right)
    shapes = lanes.axis(scale, "times the baseline's speed, log scale; right is faster", "×")
    shapes += lanes.line(scale(1.0))
    for index, (name, value, (low, high), kind, role) in enumerate(found):
        said = f"{number(value)}× [{number(low)}, {number(high)}]"
        middle = lanes.upper(index) + 7
        ends = (scale(low), scale(high))
        parts: list[Shape] = [
            Line(((ends[0], middle), (ends[1], middle)), role, 2.2),
            *(Line(((x, middle - 4), (x, middle + 4)), role, 1.4) for x in ends),
            marker(kind, (scale(value), middle), 5, role),
        ]
        shapes += [*lanes.heading(index, said), Group(f"{name}: {said}", tuple(parts))]
    words = "; ".join(f"{name} {number(value)} times" for name, value, *_ in found)
    return Scene(width, lanes.total, f"Speed over the baseline's. {words}.", tuple(shapes))
