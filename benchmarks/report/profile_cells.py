"""What stands in the tables of profiles: layers by time, by kind, and modules side by side in all engines.

Shares are of the sum of an engine's layers. Nothing is left out: what is too little for a line of its own is summed up
in one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from visiondeploy.benchmarks.report.cells import NOTHING, Cell, Column, count, number, plain
from visiondeploy.benchmarks.report.measured import LayerShare
from visiondeploy.benchmarks.report.schema import Report, Row

TOP = 10
"""Layers of an engine with a line of their own."""
TOP_MODULES = 15

EXCESS, NOTABLE = 2.0, 0.03
"""A layer is named whose share of the time is as many times that of its work, and at least this."""
_NAMED = 5

HOW = (
    "Shares are of the sum of an engine's layers, as its runtime's own profiler has them. A runtime that keeps times "
    "is slower, and what a call does outside of layers is in none: compare shares, and take latency from the table of "
    "engines."
)

# What engines compute within the product in front of it, and PyTorch as a module of its own.
_FOLDED = re.compile(r"^(?:BatchNorm\dd|ReLU6?|LeakyReLU|PReLU|SiLU|GELU|Hardswish|Hardsigmoid|Identity|Dropout\d?d?)$")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table of an engine's layers: one layer or several, `macs` of those of which they are known."""

    name: str
    kind: str
    compute: str
    milliseconds: float
    share: float
    macs: int | None
    layers: int = 1


LAYERS, KINDS, MODULES = Cell("layer"), Cell("by kind"), Cell("layer")
"""Headings of the first columns."""


@dataclass(frozen=True, slots=True)
class Module:
    """One line of the comparison: a module with what is folded into it, and a cell for each engine."""

    name: Cell
    kind: str
    cells: tuple[Cell, ...]


def profiled(report: Report) -> tuple[Row, ...]:
    """The rows that have a profile."""
    return tuple(row for row in report.rows if row.profile)


def headline(row: Row) -> str:
    """One sentence: how many layers, what they add up to, and what a call took when nothing was timed within it."""
    total = number(sum_of(row))
    p50 = row.latency_ms.p50 if row.latency_ms is not None else None
    call = (
        f"{number(p50)} ms is what a call took (p50) when none was timed"
        if p50
        else "a call has no p50, of too few runs"
    )
    layers = f"{len(row.profile)} layer{'s' if len(row.profile) > 1 else ''}"
    return plain(f"{row.name}: {layers}, {total} ms in all; {call}")


def sum_of(row: Row) -> float:
    """Milliseconds of all layers."""
    return math.fsum(layer.milliseconds for layer in row.profile)


def top_layers(row: Row, limit: int = TOP) -> tuple[Line, ...]:
    """The layers that take longest, then one line for the rest."""
    ranked = sorted(row.profile, key=lambda layer: -layer.milliseconds)
    lines = [_line([layer], plain(layer.name), plain(layer.kind)) for layer in ranked[:limit]]
    rest = ranked[limit:]
    return (*lines, _line(rest, f"{len(rest)} more", "")) if rest else tuple(lines)


def by_kind(row: Row) -> tuple[Line, ...]:
    """The layers summed by kind of operator, and those that the runtime inserted apart; what takes longest first."""
    groups: dict[tuple[str, bool], list[LayerShare]] = {}
    for layer in row.profile:
        groups.setdefault((plain(layer.kind), layer.inserted), []).append(layer)
    lines = [
        _line(layers, f"{kind}, inserted by the runtime" if inserted else kind, kind)
        for (kind, inserted), layers in groups.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.milliseconds, line.name)))


def layer_columns(row: Row) -> tuple[Column[Line], ...]:
    """The columns of `top_layers`, after that of their names."""
    kind: Column[Line] = Column(Cell("kind"), "left", lambda line: Cell(line.kind))
    return (kind, *_columns(row))


def kind_columns(row: Row) -> tuple[Column[Line], ...]:
    """The columns of `by_kind`, after that of their names."""
    layers: Column[Line] = Column(Cell("layers"), "right", lambda line: Cell(str(line.layers)))
    return (layers, *_columns(row))


def _columns(row: Row) -> tuple[Column[Line], ...]:
    work = sum(layer.macs or 0 for layer in row.profile)

    def macs(line: Line) -> Cell:
        if line.macs is None:
            return Cell(NOTHING)
        return Cell(f"{count(line.macs)}  {percent(line.macs / work)}" if line.macs else "")

    columns: list[Column[Line]] = [
        Column(Cell("type"), "left", lambda line: Cell(line.compute or NOTHING)),
        Column(Cell("ms"), "right", lambda line: Cell(number(line.milliseconds))),
        Column(Cell("of the time"), "right", lambda line: Cell(percent(line.share))),
    ]
    # A runtime that is not matched to any graph has no column of dashes.
    return (*columns, Column(Cell("MACs"), "right", macs)) if work else tuple(columns)


def hints(row: Row) -> tuple[str, ...]:
    """What to look at: layers that take more time than their work, and what the runtime inserted."""
    work = sum(layer.macs or 0 for layer in row.profile)
    timed = math.fsum(layer.share for layer in row.profile if layer.macs)
    found = []
    for layer in sorted(row.profile, key=lambda one: -one.share):
        if not layer.macs or layer.share < NOTABLE or layer.share / timed < EXCESS * layer.macs / work:
            continue
        share, of_work = percent(layer.share), percent(layer.macs / work)
        found.append(f"{layer.name} takes {share} of the time for {of_work} of the multiply-accumulates")
    inserted = [layer for layer in row.profile if layer.inserted]
    said = []
    if found:
        more = f"; {len(found) - _NAMED} more are alike" if len(found) > _NAMED else ""
        said.append(f"More time than work: {'; '.join(found[:_NAMED])}{more}. To prune them gains more than MACs tell.")
    if inserted:
        kinds = ", ".join(dict.fromkeys(layer.kind for layer in inserted))
        share = percent(math.fsum(layer.share for layer in inserted))
        said.append(
            f"Inserted by the runtime: {share} of the time in {len(inserted)} "
            f"layer{'s' if len(inserted) > 1 else ''} ({kinds}), which move data and compute nothing."
        )
    return tuple(map(plain, said))


def module_columns(report: Report) -> tuple[Column[Module], ...]:
    """The columns of `modules`, after that of the names: what each is, then an engine each."""

    def engine(place: int) -> Callable[[Module], Cell]:
        return lambda module: module.cells[place]

    kind: Column[Module] = Column(Cell("kind"), "left", lambda module: Cell(module.kind))
    return (
        kind,
        *(
            Column(Cell(plain(row.name), f"{number(sum_of(row))} ms"), "right", engine(place))
            for place, row in enumerate(profiled(report))
        ),
    )


def modules(report: Report, limit: int | None = TOP_MODULES) -> tuple[Module, ...]:
    """The layers of the first profile, each with its share in every engine that has a layer of that name.

    In the order of execution; with a limit those that take most in any engine, and one line for the rest. Last what
    has no name in common: operators that are no module, and what the runtimes inserted. Each engine's column adds up
    to 100 %. Empty where fewer than two rows have a profile.
    """
    rows = profiled(report)
    if len(rows) < 2:
        return ()
    groups = _folded(rows)
    owners = {layer.name: name for name, layers in groups.items() for layer in layers}
    found = [_by_owner(row, owners) for row in rows]
    names = [name for name in groups if any(name in engine for engine in found)]
    ranked = sorted(names, key=lambda name: -max(_share(engine.get(name, ())) for engine in found))
    kept = set(ranked if limit is None else ranked[:limit])
    lines = [
        Module(_module_name(name, groups[name]), plain(groups[name][0].kind), _cells(found, [name]))
        for name in names
        if name in kept
    ]
    rest = [name for name in names if name not in kept]
    if rest:
        lines.append(Module(Cell(f"{len(rest)} more"), "", _cells(found, rest, typed=False)))
    for label, key in ((_OTHERS, ""), (_INSERTED, None)):
        if any(key in engine for engine in found):
            lines.append(Module(Cell(label), "", _cells(found, [key], typed=False)))
    return tuple(lines)


_OTHERS, _INSERTED = "operators that are no layer of the first", "inserted by the runtime"
MODULES_NOTE = (
    "A dash: no layer of that name there, as it is folded into another or has a name of the graph's own, which is "
    "counted with the operators below."
)


def _folded(rows: Sequence[Row]) -> dict[str, list[LayerShare]]:
    """The layers of the first row by name, each with the norms and activations behind it that no engine runs alone."""
    others = {layer.name for row in rows[1:] for layer in row.profile}
    groups: dict[str, list[LayerShare]] = {}
    last: list[LayerShare] | None = None
    for layer in rows[0].profile:
        if layer.inserted:
            continue
        if last is not None and layer.name not in others and _FOLDED.match(layer.kind):
            last.append(layer)
            continue
        last = groups.setdefault(layer.name, [])
        last.append(layer)
    return groups


_Shared = dict[str | None, list[LayerShare]]


def _by_owner(row: Row, owners: dict[str, str]) -> _Shared:
    """An engine's layers by the module that they belong to; "" of none, None of what the runtime inserted."""
    found: _Shared = {}
    for layer in row.profile:
        found.setdefault(None if layer.inserted else owners.get(layer.name, ""), []).append(layer)
    return found


def _cells(engines: Sequence[_Shared], names: Sequence[str | None], *, typed: bool = True) -> tuple[Cell, ...]:
    cells = []
    for engine in engines:
        layers = [layer for name in names for layer in engine.get(name, ())]
        kinds = ", ".join(dict.fromkeys(plain(layer.compute) for layer in layers if layer.compute)) if typed else ""
        cells.append(Cell(percent(_share(layers)), kinds) if layers else Cell(NOTHING))
    return tuple(cells)


def _module_name(name: str, layers: Sequence[LayerShare]) -> Cell:
    kinds = ", ".join(dict.fromkeys(plain(layer.kind) for layer in layers[1:]))
    return Cell(plain(name), f"with {kinds}" if kinds else "")


def _share(layers: Iterable[LayerShare]) -> float:
    return math.fsum(layer.share for layer in layers)


def _line(layers: Sequence[LayerShare], name: str, kind: str) -> Line:
    known = [layer.macs for layer in layers if layer.macs is not None]
    return Line(
        name=name,
        kind=kind,
        compute=", ".join(dict.fromkeys(plain(layer.compute) for layer in layers if layer.compute)),
        milliseconds=math.fsum(layer.milliseconds for layer in layers),
        share=_share(layers),
        macs=sum(known) if known else None,
        layers=len(layers),
    )


def percent(share: float) -> str:
    """A share in percent, with a digit behind the point; what is more than nothing is not shown as nothing."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share * 100:.1f} %"
