"""`deploy inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from visiondeploy.pipeline.backends.inside import LayerDetail
    from visiondeploy.pipeline.inspection import StageInspection, Totals
    from visiondeploy.types import TensorSpec


@click.command("inspect")
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--stage", metavar="NAME", help='Every layer of this one: "onnx-fp32", "engines/openvino", …')
@click.option("--json", "as_json", is_flag=True, help="Print all of it, with every layer, as JSON on stdout.")
def command(build: Path, stage: str | None, as_json: bool) -> None:
    """Show the layers of a BUILD's ONNX files and engines: shapes, weights, multiply-accumulates, types.

    \b
    deploy inspect builds/unet-int8                              what each adds up to
    deploy inspect builds/unet-int8 --stage engines/openvino     layer by layer

    In an engine the type is the one that the runtime computes in, in an ONNX file the one that the graph asks for.
    """
    from visiondeploy.pipeline.inspection import inspect

    found = inspect(build, stage)
    if as_json:
        click.echo(found.to_json().encode(), nl=False)
        return
    from visiondeploy.pipeline.cli.console import ONE_LINE, on_stdout

    console = on_stdout(ONE_LINE)
    console.print(f"{found.build}, for one image", markup=False, soft_wrap=True)
    for one in found.stages:
        console.print()
        console.print(_title(one), style="bold", markup=False, soft_wrap=True)
        if len(found.stages) == 1:
            console.print(_layers(one.layers))
        console.print(_totals("kind", one.by_kind, one.totals))
        console.print(_totals("type", one.by_type, None))
        for note in one.notes:
            console.print(f"  {note}", markup=False, soft_wrap=True)


def _title(stage: StageInspection) -> str:
    engine = f", {stage.precision} engine of {stage.backend}" if stage.backend else ""
    sizes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in stage.input.items())
    return f"{stage.name}{engine}, fed {sizes}"


def _totals(title: str, groups: dict[str, Totals], total: Totals | None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title, "layers", "parameters", "weights", "MACs", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, found in groups.items():
        table.add_row(name, str(found.layers), *_sums(found.parameters, found.weight_bytes, found.macs))
    if total is not None:
        table.add_section()
        table.add_row("all", str(total.layers), *_sums(total.parameters, total.weight_bytes, total.macs))
    return table


def _layers(layers: Sequence[LayerDetail]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    titles = ("layer", "kind", "inputs", "outputs", "parameters", "weights", "MACs", "type", "provider", "fused")
    # With nothing fused the column would be empty, as that of the provider is in an ONNX file.
    shown = [*titles[:8], *(name for name in titles[8:] if any(getattr(layer, name) for layer in layers))]
    table = Table(*shown, box=box.SIMPLE_HEAD)
    for column in table.columns[4:7]:
        column.justify = "right"
    for layer in layers:
        cells = [layer.name, layer.kind, _specs(layer.inputs), _specs(layer.outputs)]
        cells += _sums(layer.parameters, layer.weight_bytes, layer.macs)
        ends = {"provider": layer.provider or "", "fused": ", ".join(layer.fused)}
        cells += [layer.compute or "", *(ends[name] for name in shown[8:])]
        # `Text`, not markup: a name may hold square brackets.
        table.add_row(*map(Text, cells))
    return table


def _specs(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{'×'.join(map(str, spec.shape))} {spec.dtype}".strip() for spec in specs)


def _sums(parameters: int | None, weight_bytes: int | None, macs: int | None) -> tuple[str, str, str]:
    from visiondeploy.benchmarks.report.cells import NOTHING, size

    def shown(value: int | None) -> str:
        return NOTHING if value is None else f"{value:,}" if value else ""

    return (
        shown(parameters),
        NOTHING if weight_bytes is None else size(weight_bytes) if weight_bytes else "",
        shown(macs),
    )
