"""What stands in the tables of a report's compression, in plain text, for the terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, count, number, plain
from visiondeploy.benchmarks.report.compression import Compression, LayerChange, LayerCost, Variant

VARIANTS = Cell("network")
LAYERS = Cell("layer")
LAYERS_FILE = "compression.md"
"""Where the table of layers is to be read, as a terminal has no room for it."""

_ARROW = " → "


def headline(compression: Compression) -> str:
    """One line: which network the build goes on with, of how many, and for which engine."""
    total = len(compression.variants)
    engine = " ".join(part for part in (compression.backend, compression.precision) if part)
    networks = f"{total} networks" if total > 1 else "one network"
    return plain(f"compression: {compression.chosen} is chosen, of {networks}, for {engine}")


def name(variant: Variant, compression: Compression) -> Cell:
    """The variant's name, and whether it is the chosen one."""
    return Cell(plain(variant.name), "chosen" if variant.name == compression.chosen else "")


def change(variant: Variant, compression: Compression) -> Cell:
    """What was done to the network, in words."""
    return Cell(plain(variant.change) or ("uncompressed" if variant is compression.variants[0] else NOTHING))


def columns(compression: Compression) -> tuple[Column[Variant], ...]:
    """The columns of the table of variants, after those of their names and changes; ratios are to the first."""
    dense = compression.variants[0]

    def parameters(variant: Variant) -> Cell:
        return _counted(variant.parameters, dense.parameters, first=variant is dense)

    def macs(variant: Variant) -> Cell:
        return _counted(variant.macs, dense.macs, first=variant is dense)

    def speed(variant: Variant) -> Cell:
        if variant is dense:
            return Cell("1×")
        if variant.speed_over_dense is None:
            return Cell(NOTHING)
        interval = variant.speed_over_dense_ci95
        shown = f"[{number(interval[0])}, {number(interval[1])}]" if interval is not None else "no interval"
        return Cell(f"{number(variant.speed_over_dense)}×", shown)

    return (
        Column(Cell("parameters", "ratio"), "right", parameters),
        Column(Cell("MACs", "ratio"), "right", macs),
        Column(Cell(f"float {plain(compression.metric)}", "before tuning"), "right", _metric),
        Column(Cell("speed", "95 % CI"), "right", speed),
    )


def notes(compression: Compression) -> tuple[str, ...]:
    """How long variants were tuned, and the notes of the compression."""
    tuned = [
        f"{variant.name} {variant.steps} steps in {_duration(variant.seconds)}"
        for variant in compression.variants
        if variant.steps
    ]
    found = [f"fine-tuning: {'; '.join(tuned)}."] if tuned else []
    return tuple(plain(line) for line in (*found, *compression.notes))


def layers_line(compression: Compression) -> str:
    """One line that says where the table of layers is; empty where no layer changed."""
    total = len(compression.layers)
    if total == 0:
        return ""
    return f"{total} layer{'s' if total > 1 else ''}, each before and after: see {LAYERS_FILE}."


def layer_name(found: LayerChange) -> Cell:
    """The name that the layer has in the uncompressed network."""
    return Cell(plain(found.before.name))


def layer_columns() -> tuple[Column[LayerChange], ...]:
    """The columns of the table of layers, after that of their names."""
    return (
        Column(Cell("before"), "left", lambda found: Cell(shape(found.before))),
        Column(Cell("after"), "left", _after),
        *(Column(Cell(heading), "right", _of_layer(value, shown)) for heading, value, shown in _COSTS),
    )


def layers_total(compression: Compression) -> tuple[Cell, ...]:
    """The last line of the table of layers: its label, then a cell for each of `layer_columns`.

    A sum is a dash where one of its terms is not known.
    """
    befores = [found.before for found in compression.layers]
    afters = [layer for found in compression.layers for layer in found.after]
    sums = tuple(_change(value, shown, befores, afters) for _, value, shown in _COSTS)
    return (Cell(f"total of {len(befores)}"), Cell(""), Cell(""), *sums)


def shape(layer: LayerCost) -> str:
    """A layer in short: "3×3 64→128", "3×3 dw 64" (depthwise), "2×2 up 128→64" (transposed), "linear 512→10"."""
    channels = f"{layer.in_channels}→{layer.out_channels}"
    if layer.kind == "linear":
        return f"linear {channels}"
    words = [f"{layer.kernel[0]}×{layer.kernel[1]}"]
    if layer.kind == "transposed":
        words.append("up")
    if layer.groups > 1 and layer.groups == layer.in_channels:
        words.append("dw")
        channels = str(layer.in_channels) if layer.in_channels == layer.out_channels else channels
    elif layer.groups > 1:
        channels += f" in {layer.groups} groups"
    return " ".join([*words, channels])


def _parameters(layer: LayerCost) -> float:
    return layer.parameters


def _macs(layer: LayerCost) -> float:
    return layer.macs


def _milliseconds(layer: LayerCost) -> float | None:
    return layer.milliseconds


_Value = Callable[[LayerCost], float | None]
_Shown = Callable[[float], str]


def _counted_shown(value: float) -> str:
    return count(int(value))


_COSTS: tuple[tuple[str, _Value, _Shown], ...] = (
    ("parameters", _parameters, _counted_shown),
    ("MACs", _macs, _counted_shown),
    ("ms", _milliseconds, number),
)


def _of_layer(value: _Value, shown: _Shown) -> Callable[[LayerChange], Cell]:
    return lambda found: Cell(_change(value, shown, [found.before], found.after).main)


def _change(value: _Value, shown: _Shown, before: Sequence[LayerCost], after: Sequence[LayerCost]) -> Cell:
    """Two sums with an arrow between, and their ratio where both are known."""
    old, new = _sum(value, before), _sum(value, after)
    if old is None and new is None:
        return Cell(NOTHING)
    said = _ARROW.join(NOTHING if total is None else shown(total) for total in (old, new))
    return Cell(said, f"{number(new / old)}×" if old and new is not None else "")


def _sum(value: _Value, layers: Sequence[LayerCost]) -> float | None:
    found = [value(layer) for layer in layers]
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def _after(found: LayerChange) -> Cell:
    if not found.after:
        return Cell("removed")
    said = " + ".join(shape(layer) for layer in found.after)
    return Cell("same" if said == shape(found.before) else said)


def _counted(value: int, dense: int, *, first: bool) -> Cell:
    return Cell(count(value), "" if first or not dense else f"{number(value / dense)}×")


def _metric(variant: Variant) -> Cell:
    before, after = (NOTHING if value is None else f"{value:.4f}" for value in (variant.untuned, variant.tuned))
    return Cell(after, before if variant.untuned is not None else "")


def _duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{number(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
