"""The types that layers really compute in: a bar for each engine, as long as its layers are many."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.plots.lanes import Lanes
from visiondeploy.benchmarks.report.plots.names import called
from visiondeploy.benchmarks.report.plots.scales import Linear
from visiondeploy.benchmarks.report.plots.scene import (
    Area,
    Group,
    Marker,
    Role,
    Scene,
    Shape,
    Text,
    legend,
    rectangle,
    text_width,
)
from visiondeploy.benchmarks.report.schema import Report

_ROLES: dict[str, Role] = {"fp32": "own", "fp16": "five", "bf16": "six", "int8": "one", "fp8": "three"}
_HEIGHT = 18.0


def draw(report: Report, width: int) -> Scene | None:
    """A lane for each row whose layers are known; None without any."""
    rows = [(row, row.realised) for row in report.rows if row.realised]
    if not rows:
        return None
    names = called(report)
    kinds = list(dict.fromkeys(kind for _, realised in rows for kind in realised))
    entries: list[tuple[str, Marker, Role]] = [(plain(kind), "square", _role(kind)) for kind in kinds]
    keys, high = legend(entries, 0, 0, width)
    lanes = Lanes.of([names[row.name] for row, _ in rows], width, _HEIGHT, top=high + 8, right=72)
    scale = Linear(0, max(sum(realised.values()) for _, realised in rows) or 1, lanes.left, lanes.right)
    shapes: list[Shape] = [*keys, *lanes.axis(scale, "layers that compute", whole=True)]
    for index, (row, realised) in enumerate(rows):
        top, before = lanes.upper(index), 0
        shapes += lanes.heading(index, f"{row.precision.value} asked")
        for kind, count in realised.items():
            left, right = scale(before), scale(before + count)
            before += count
            bar: list[Shape] = [Area(rectangle(left, top, right, top + _HEIGHT), _role(kind), outline="paper")]
            if text_width(str(count), 11) + 8 < right - left:
                bar.append(Text((left + right) / 2, top + 13, str(count), 11, "middle", bold=True, role="paper"))
            shapes.append(Group(f"{names[row.name]}: {count} layers in {plain(kind)}", tuple(bar)))
    said = "; ".join(
        f"{names[row.name]} " + ", ".join(f"{count} in {plain(kind)}" for kind, count in realised.items())
        for row, realised in rows
    )
    return Scene(width, lanes.total, f"Layers by the type that they compute in. {said}.", tuple(shapes))


def _role(kind: str) -> Role:
    return _ROLES.get(kind, "four")
