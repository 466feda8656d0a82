"""`deploy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from visiondeploy.pipeline.cli.options import Decibels, threads_option

if TYPE_CHECKING:
    from rich.table import Table

    from visiondeploy.pipeline.differences import Comparison


@click.command("compare")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@click.option("--stage", metavar="NAME", help="The stage to compare, where both are whole builds.")
@click.option("--sqnr-db", type=Decibels(), default=20.0, show_default=True, help="Name the first layer below this.")
@click.option("--images", type=click.IntRange(min=1), help="How many images of the validation split [default: few].")
@threads_option
@click.option("--check", is_flag=True, help="End with 1 where a layer or the outputs are below.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
def command(
    reference: Path,
    candidate: Path,
    stage: str | None,
    sqnr_db: float,
    images: int | None,
    threads: int | None,
    check: bool,
    as_json: bool,
) -> None:
    """Run two ONNX files or engines side by side on real images, and name the first layer where they part.

    \b
    deploy compare builds/unet-int8/onnx-fp32 builds/unet-int8/onnx-int8-cpu
    deploy compare builds/unet-int8/onnx-int8-cpu builds/unet-int8/engines/openvino
    deploy compare builds/before builds/after --stage onnx-fp32
    """
    from visiondeploy.errors import GateFailed
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.comparison import compare

    with Display() as display:
        found = compare(reference, candidate, stage, images, sqnr_db, threads, display)
    try:
        if as_json:
            click.echo(found.to_json().encode(), nl=False)
        else:
            _print(found)
    finally:
        # Also where the reader of stdout left early.
        if check and found.diverges:
            raise GateFailed(f"{found.conclusion}.")


def _print(found: Comparison) -> None:
    from visiondeploy.pipeline.cli.console import ONE_LINE, on_stdout

    console = on_stdout(ONE_LINE)
    images = f"{found.images} image{'s' if found.images > 1 else ''}"
    console.print(f"{found.candidate} against {found.reference}, {images}", markup=False, soft_wrap=True)
    console.print(_table(found))
    for tensor, reason in found.left_out.items():
        console.print(f"  not compared: {tensor}: {reason}", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"  {note}", markup=False, soft_wrap=True)
    console.print(found.conclusion, style="bold", markup=False, soft_wrap=True)


def _table(found: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from visiondeploy.pipeline.differences import said

    table = Table("layer", "kind", "tensor", "SQNR", "max abs", "cosine", "", box=box.SIMPLE_HEAD)
    for column in table.columns[3:6]:
        column.justify = "right"
    for layer in found.layers:
        marks = {"first": found.first, "worst": found.worst}
        mark = ", ".join(name for name, marked in marks.items() if marked is layer and not layer.agreement.exact)
        below = not found.holds(layer.agreement)
        cells = [layer.name, layer.kind, layer.tensor, said(layer.agreement), _number(layer.agreement.max_abs)]
        cells += [
            "" if layer.cosine is None else f"{layer.cosine:.6f}",
            f"◄ {mark}" if mark else "below" if below else "",
        ]
        # `Text`, not markup: a name may hold square brackets.
        table.add_row(*map(Text, cells), style="red" if below else "bold" if mark else "")
    outputs = found.outputs
    table.add_section()
    agree = "" if outputs.pixels is None else f"{outputs.pixels:.2%} of pixels agree"
    table.add_row("the outputs, as they run", "", "", said(outputs), _number(outputs.max_abs), "", agree)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
