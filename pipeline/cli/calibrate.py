"""`deploy calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.cli.options import recipe_of, recipe_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from visiondeploy.pipeline.build import Built


@click.command("calibrate")
@recipe_options
@click.option("--backend", metavar="NAME", help="Only the scheme of this backend [default: of each that is here].")
@click.option("--observer", metavar="NAME", help='An observer, or "auto": the one with the best SQNR.')
@click.option("--images", type=click.IntRange(min=1), help="How many images are observed.")
@click.option("--worst", type=click.IntRange(min=1), default=10, show_default=True, help="How many layers to list.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
def command(
    out: Path | None,
    backend: str | None,
    observer: str | None,
    images: int | None,
    worst: int,
    as_json: bool,
    **shared: Any,
) -> None:
    """Train or load a network, export and quantise it; show the ranges, and the layers that int8 hurts most.

    The ranges.json that is printed last can be used again, for the same network: deploy build --ranges FILE
    """
    from visiondeploy.pipeline.cli.building import holding, run

    given = {
        "precision": "int8",
        "backend": backend,
        "calibration.observer": observer,
        "calibration.images": images,
    }
    recipe = recipe_of(shared, given)
    if not recipe.precision.quantised:
        raise UsageError(f"calibration is for int8 and fp8, and the precision is {recipe.precision}: leave it away.")
    built = run(recipe, out, "quantise")
    with holding(built.record.parity):
        found = _found(built)
        if as_json:
            click.echo(json.dumps(found, indent=1, ensure_ascii=False).encode())
        else:
            _print(found, worst)


def _found(built: Built) -> dict[str, Any]:
    """The calibration set, and of each scheme its observer, repairs, ranges and layers."""
    metas = {stage.name: stage.meta for stage in built.record.stages}
    schemes: dict[str, Any] = {}
    for stage, meta in metas.items():
        if not stage.startswith("quantise "):
            continue
        scheme = stage.removeprefix("quantise ")
        file = built.folder / f"onnx-{built.record.recipe['precision']}-{scheme}" / "ranges.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        schemes[scheme] = {
            "file": str(file),
            **{name: meta[name] for name in ("observer", "repairs", "sqnr_db", "layer_sqnr_db", "left_in_float")},
            **{name: content[name] for name in ("ranges", "seen", "data")},
        }
    return {"set": metas["sample"], "schemes": schemes}


def _print(found: dict[str, Any], worst: int) -> None:
    from visiondeploy.benchmarks.report.terminal import PIPED_WIDTH
    from visiondeploy.pipeline.cli.console import on_stdout

    console = on_stdout(PIPED_WIDTH)
    chosen = found["set"]
    console.print(f"{len(chosen['images'])} images, set {chosen['digest'][:12]}", markup=False)
    if chosen["classes"]:
        rarest = sorted(chosen["classes"].items(), key=lambda entry: (entry[1], entry[0]))
        console.print("  images that show " + ", ".join(f"{name} {count}" for name, count in rarest), markup=False)
    before: dict[str, Any] = {}
    for scheme, entry in found["schemes"].items():
        same = next((name for name, other in before.items() if other["ranges"] == entry["ranges"]), None)
        _print_scheme(console, scheme, entry, worst, same)
        before[scheme] = entry


def _print_scheme(console: Console, scheme: str, entry: dict[str, Any], worst: int, same: str | None) -> None:
    from rich import box
    from rich.table import Table

    console.print()
    kept = " + ".join([entry["observer"], *entry["repairs"]])
    console.print(f"scheme {scheme}: {kept}", style="bold", markup=False)
    tried = ", ".join(f"{name} {value:.1f}" for name, value in entry["sqnr_db"].items())
    console.print(f"  SQNR of the outputs in dB, on images held back: {tried}", markup=False)
    if same is not None:
        console.print(f"  ranges as of scheme {same}", markup=False)
    else:
        console.print(_ranges(entry))
    layers = Table(f"worst {worst} layers", "SQNR, dB", box=box.SIMPLE_HEAD)
    layers.columns[1].justify = "right"
    for name, value in sorted(entry["layer_sqnr_db"].items(), key=lambda item: item[1])[:worst]:
        layers.add_row(name, f"{value:.1f}")
    console.print(layers)
    for name, reason in entry["left_in_float"].items():
        console.print(f"  in float: {name}: {reason}", markup=False)
    console.print(f"  ranges  {entry['file']}", markup=False, soft_wrap=True)


def _ranges(entry: dict[str, Any]) -> Table:
    """Tensor by tensor: the range that the codes span, what was seen, and which end is clipped."""
    from rich import box
    from rich.table import Table

    ranges = Table("tensor", "range", "seen", "clipped", box=box.SIMPLE_HEAD)
    for tensor, (low, high) in entry["ranges"].items():
        least, most = entry["seen"].get(tensor, (None, None))
        seen = "" if least is None else f"{least:.4g} … {most:.4g}"
        ends = [side for side, beyond in (("below", least < low), ("above", most > high)) if beyond] if seen else []
        ranges.add_row(tensor, f"{low:.4g} … {high:.4g}", seen, ", ".join(ends))
    return ranges
