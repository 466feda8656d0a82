"""The plots of a report, each with its name and what draws it at a width."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from visiondeploy.benchmarks.report.files import whole_file
from visiondeploy.benchmarks.report.plots import (
    computed,
    drift,
    latencies,
    layers,
    parts,
    speedups,
    svg,
    throughput,
    tradeoff,
)
from visiondeploy.benchmarks.report.plots.scene import Scene
from visiondeploy.benchmarks.report.schema import Report

WIDE, PHONE = 860, 340
"""Pixels of a plot on a page, and on a phone."""

Draw = Callable[[int], Scene | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of a report, as wide as a page and as narrow as a phone; `name` is that of its files."""

    name: str
    wide: Scene
    narrow: Scene


def plots(report: Report) -> tuple[Plot, ...]:
    """Those that the report has something for."""
    found = ((name, draw(WIDE), draw(PHONE)) for name, draw in _draws(report))
    return tuple(Plot(name, wide, narrow) for name, wide, narrow in found if wide is not None and narrow is not None)


def _draws(report: Report) -> Iterator[tuple[str, Draw]]:
    """The name of each plot there is, and what draws it at a width."""
    yield "tradeoff", partial(tradeoff.engines, report)
    yield "speedups", partial(speedups.draw, report)
    yield "latencies", partial(latencies.draw, report)
    yield "drift", partial(drift.draw, report)
    for number, metric in enumerate(parts.metrics(report), start=1):
        yield f"parts-{number}", partial(parts.draw, report, metric)
    yield "types", partial(computed.draw, report)
    for number, row in enumerate(report.rows, start=1):
        yield f"layers-{number}", partial(layers.draw, row)
    for scenario in throughput.SCENARIOS:
        yield scenario, partial(throughput.draw, report, scenario)
    yield "compression", partial(tradeoff.variants, report)


def is_plot(path: Path) -> bool:
    """Whether a file has the name of one that `save_plots` writes."""
    known = ("tradeoff", "speedups", "latencies", "drift", "types", *throughput.SCENARIOS, "compression")
    name = re.sub(r"^(parts|layers)-[0-9]+$", "types", path.stem)
    return name in known and path.suffix in {".png", ".svg"}


def save_plots(folder: Path, found: Sequence[Plot]) -> list[Path]:
    """Write each plot as `NAME.png` and `NAME.svg` into a folder that is there; what else is in it stays.

    Raises ResourceError where they cannot be written.
    """
    from visiondeploy.benchmarks.report.plots import png

    written = []
    for plot in found:
        picture = BytesIO()
        png.save(plot.wide, picture)
        for ending, content in (("png", picture.getvalue()), ("svg", svg.document(plot.wide).encode())):
            path = folder / f"{plot.name}.{ending}"
            with whole_file(path) as stream:
                stream.write(content)
            written.append(path)
    return written
