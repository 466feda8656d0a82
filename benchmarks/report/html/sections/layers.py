"""The types that layers compute in, and where each engine's time goes."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import Cell, Column, number, plain
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Heading, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import Table, table
from visiondeploy.benchmarks.report.measured import LayerShare
from visiondeploy.benchmarks.report.plots.layers import TOP
from visiondeploy.benchmarks.report.schema import Row

_TYPES = (
    "Layers by the type that they really compute in, as the runtime tells after compilation, and the precision that "
    "was asked for."
)


def section(content: Content) -> Section | None:
    """The plot of types, then a part for each row that has a profile, the last one open; none without either."""
    blocks: list[Block] = [*content.figures("types", _TYPES)]
    profiled = [(index, row) for index, row in enumerate(content.report.rows, start=1) if row.profile]
    if profiled:
        blocks.append(Heading("Time by layer"))
    for index, row in profiled:
        parts: tuple[Block, ...] = (*content.figures(f"layers-{index}", _caption(row)), Tabular(_kinds(row)))
        blocks.append(Fold(plain(row.name), parts, is_open=row is profiled[-1][1]))
    return Section("layers", "Layers", tuple(blocks)) if blocks else None


def _caption(row: Row) -> str:
    shown = f"The {TOP} of {len(row.profile)} layers that take" if len(row.profile) > TOP else "Layers that take"
    return (
        f"{shown} longest, of one inference, from the runtime's own profiler. Profiling takes time itself, so the sum "
        "may be more than the latency above."
    )


def _kinds(row: Row) -> Table:
    kinds = dict.fromkeys((layer.kind, layer.compute) for layer in row.profile)
    groups = [[layer for layer in row.profile if (layer.kind, layer.compute) == kind] for kind in kinds]
    groups.sort(key=lambda layers: -sum(layer.milliseconds for layer in layers))
    columns: tuple[Column[list[LayerShare]], ...] = (
        Column(Cell("type"), "left", lambda layers: Cell(plain(layers[0].compute))),
        Column(Cell("layers"), "right", lambda layers: Cell(str(len(layers)))),
        Column(Cell("ms"), "right", lambda layers: Cell(number(sum(one.milliseconds for one in layers)))),
        Column(Cell("share"), "right", lambda layers: Cell(f"{sum(one.share for one in layers) * 100:.1f} %")),
    )
    names = ((Cell(plain(layers[0].kind)), "") for layers in groups)
    return table(f"{plain(row.name)}: time by kind of layer", Cell("kind"), columns, groups, names)
