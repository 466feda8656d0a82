"""What making the network smaller did: the networks that were tried, and each layer before and after."""

from __future__ import annotations

from visiondeploy.benchmarks.report import compression_cells
from visiondeploy.benchmarks.report.cells import Cell, Column
from visiondeploy.benchmarks.report.compression import Compression, Variant
from visiondeploy.benchmarks.report.html.blocks import Block, Fold, Points, Prose, Tabular
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.tables import Table, TableRow, table

_CAPTION = (
    "The networks that were tried, in one engine, at their median latency and their quality. The pale line is the "
    "Pareto front."
)


def section(content: Content) -> Section | None:
    """The networks, their plot, the layers; none where the network was not compressed."""
    found = content.report.compression
    if found is None:
        return None
    said = compression_cells.headline(found).removeprefix("compression: ")
    blocks: list[Block] = [Prose(f"{said[:1].upper()}{said[1:]}."), Tabular(_variants(found))]
    blocks += content.figures("compression", _CAPTION)
    if found.layers:
        count = len(found.layers)
        blocks.append(Fold(f"{count} layer{'s' if count > 1 else ''} before and after", (Tabular(_layers(found)),)))
    notes = compression_cells.notes(found)
    return Section("compression", "Compression", (*blocks, Points(notes, "notes")) if notes else tuple(blocks))


def _variants(found: Compression) -> Table:
    change: Column[Variant] = Column(Cell("change"), "left", lambda one: compression_cells.change(one, found))
    names = (
        (compression_cells.name(variant, found), "chosen" if variant.name == found.chosen else "")
        for variant in found.variants
    )
    columns = (change, *compression_cells.columns(found))
    return table("Networks, the uncompressed one first", compression_cells.VARIANTS, columns, found.variants, names)


def _layers(found: Compression) -> Table:
    names = ((compression_cells.layer_name(layer), "") for layer in found.layers)
    shown = table(
        "Layers before and after", compression_cells.LAYERS, compression_cells.layer_columns(), found.layers, names
    )
    label, *sums = compression_cells.layers_total(found)
    total = TableRow(label, tuple(sums), "chosen")
    return Table(shown.caption, shown.heading, shown.headings, shown.aligns, (*shown.rows, total))
