"""Where an engine's time goes: its layers that take longest, as the runtime's own profiler has them."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import number, plain
from visiondeploy.benchmarks.report.plots.lanes import NARROW
from visiondeploy.benchmarks.report.plots.scales import Linear
from visiondeploy.benchmarks.report.plots.scene import Area, Group, Scene, Shape, Text, fitting, rectangle, text_width
from visiondeploy.benchmarks.report.schema import Row

TOP = 12
"""Layers that are shown."""


def draw(row: Row, width: int) -> Scene | None:
    """A bar for each of the `TOP` layers, longest first; None where the row has no profile."""
    layers = sorted(row.profile, key=lambda layer: -layer.milliseconds)[:TOP]
    if not layers:
        return None
    narrow = width < NARROW
    above, height = (17.0, 12.0) if narrow else (0.0, 20.0)
    names = [f"{plain(layer.name)} · {plain(layer.kind)}, {plain(layer.compute)}" for layer in layers]
    said = [f"{number(layer.milliseconds)} ms · {layer.share * 100:.1f} %" for layer in layers]
    numbers = max(text_width(one, 11.5) for one in said) + 10
    left = 0.0 if narrow else min(max(map(text_width, names)) + 12, width * 0.5)
    right = width - (0.0 if narrow else numbers)
    scale = Linear(0, max(layer.milliseconds for layer in layers) or 1, left, right)
    shapes: list[Shape] = []
    for index, (name, layer, text) in enumerate(zip(names, layers, said, strict=True)):
        top = 4 + index * (above + height + 4)
        bar = Area(
            rectangle(left, top + above + 2, max(scale(layer.milliseconds), left + 1), top + above + height - 2), "one"
        )
        if narrow:
            shapes.append(Text(0, top + 12, fitting(name, width - numbers), 11.5))
            shapes.append(Text(width, top + 12, text, 11.5, "end", role="muted"))
        else:
            shapes.append(Text(0, top + 14, fitting(name, left - 8), 12))
            shapes.append(Text(width, top + 14, text, 11.5, "end", role="muted"))
        shapes.append(Group(f"{name}: {text}", (bar,)))
    words = "; ".join(f"{name} {text}" for name, text in zip(names, said, strict=True))
    alt = f"The {len(layers)} layers of {plain(row.name)} that take longest. {words}."
    return Scene(width, 8 + len(layers) * (above + height + 4), alt, tuple(shapes))
