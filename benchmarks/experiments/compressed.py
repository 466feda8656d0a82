"""A network beside what compression made of it: parameters, arithmetic, metric and speed, in fp32 and int8.

The networks are checkpoints of `deploy compress` (network-compressed/) and the one that they were made from. All
engines of one input size are measured in one run against PyTorch eager fp32 of the uncompressed network: latency in
shuffled blocks, the metric and the share of pixels whose class agrees on the validation split.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.schema import BASELINE_BACKEND, Report, Row, Verdict
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import VisionDeployError
from visiondeploy.models.cache import default_root
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS
from visiondeploy.pipeline.build import build
from visiondeploy.pipeline.cli.display import Display
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import Recipe, resolve
from visiondeploy.pipeline.stages.measure import Contender, measure
from visiondeploy.pipeline.store import Store, write_atomic
from visiondeploy.types import Precision, Realised

DENSE = "dense"
PRECISIONS = (Precision.FP32, Precision.INT8)


@dataclass(frozen=True, slots=True)
class Size:
    """What a network is: parameters, and multiply-accumulates of one image."""

    parameters: int
    macs: int


def recipe_of(options: argparse.Namespace, checkpoint: Path, size: tuple[int, int], precision: Precision) -> Recipe:
    """The recipe of a network's engines: its checkpoint at an input size."""
    given: dict[str, object] = {
        "data.dataset": options.dataset,
        "precision": precision.value,
        "threads": options.threads,
        "model.checkpoint": str(checkpoint),
        "input.height": size[0],
        "input.width": size[1],
    }
    return resolve("unet", None, options.settings, given)


def size_of(checkpoint: Path, size: tuple[int, int]) -> Size:
    """Count the parameters of a checkpoint, and its arithmetic at an input size."""
    from visiondeploy.models.checkpoint import load_network
    from visiondeploy.models.compression.structure import layers_of

    module = load_network(checkpoint).module
    macs = sum(shape.macs for shape in layers_of(module, size).values())
    return Size(sum(parameter.numel() for parameter in module.parameters()), macs)


def contenders(
    options: argparse.Namespace, size: tuple[int, int], sizes: dict[str, Size], display: Display
) -> tuple[Plan, list[Contender]]:
    """The uncompressed network in PyTorch, and the engines of all networks, built now unless the store has them."""
    store = Store(default_root(), on_warning=display.warn, on_wait=display.warn)
    found: list[Contender] = []
    plan = Plan(recipe_of(options, options.networks[DENSE], size, Precision.FP32))
    for name, checkpoint in options.networks.items():
        for precision in PRECISIONS:
            place = options.folder / f"{name}-{precision}-{size[0]}x{size[1]}"
            built = build(recipe_of(options, checkpoint, size, precision), store, place, display, until="compile")
            if not found:
                folder = built.folder / "network"
                realised = BACKENDS[BASELINE_BACKEND].realised(folder, options.threads, plan.samples[0])
                weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
                parameters = sizes[DENSE].parameters
                found.append(
                    Contender(
                        BASELINE_BACKEND, DENSE, BASELINE_BACKEND, Precision.FP32, folder, weights, parameters, realised
                    )
                )
            for engine in built.record.engines:
                found.append(
                    Contender(
                        row_name(name, precision, engine.backend),
                        name,
                        engine.backend,
                        precision,
                        built.folder / engine.folder,
                        engine.size_bytes,
                        sizes[name].parameters,
                        Realised(engine.layers, engine.stored),
                    )
                )
    return plan, found


def row_name(network: str, precision: Precision, backend: str) -> str:
    """What the row of an engine is called."""
    return f"{network}-{precision}-{backend}"


def table(rows: Sequence[Row], sizes: dict[str, Size]) -> str:
    """A Markdown table: a line for each network and precision, with the speed-up on each backend."""
    by_name = {row.name: row for row in rows}
    baseline = rows[0].quality
    heads = ["network", "precision", "parameters", "MACs", "mIoU (Δ in points, 95 % CI)", "of dense", "agrees", *AUTO]
    lines = [f"| {' | '.join(heads)} |", "| :--- | :--- | " + " | ".join(["---:"] * (len(heads) - 2)) + " |"]
    if baseline is not None:
        lines.append(
            f"| {DENSE}, PyTorch | fp32 | | | {100 * baseline.value:.2f} | | | 1× |" + " 1× |" * (len(AUTO) - 1)
        )
    for name, size in sizes.items():
        for precision in PRECISIONS:
            engines = [by_name.get(row_name(name, precision, backend)) for backend in AUTO]
            first = next((row for row in engines if row is not None and row.quality is not None), None)
            if first is None or first.quality is None or first.agreement is None:
                continue
            quality, ci = first.quality, first.quality.ci95 or (0.0, 0.0)
            cols = [
                name,
                precision.value,
                f"{cells.count(size.parameters)} ({size.parameters / sizes[DENSE].parameters:.1%})",
                f"{cells.count(size.macs)} ({size.macs / sizes[DENSE].macs:.1%})",
                f"{100 * quality.value:.2f} ({100 * quality.delta:+.2f}; {100 * ci[0]:+.2f} to {100 * ci[1]:+.2f})",
                f"{quality.value / quality.baseline:.1%}",
                f"{first.agreement.pixels or 0:.2%}",
                *(_speed(row) for row in engines),
            ]
            lines.append(f"| {' | '.join(cols)} |")
    return "\n".join(lines)


def _speed(row: Row | None) -> str:
    if row is None or row.speedup is None or row.latency_ms is None or row.latency_ms.p50 is None:
        return cells.NOTHING
    low, high = row.speedup.ci95
    return f"{row.speedup.value:.1f}× ({low:.1f} to {high:.1f}), {row.latency_ms.p50:.1f} ms"


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description="A network beside what compression made of it.")
    add = parser.add_argument
    add("networks", nargs="+", metavar="NAME=CHECKPOINT", help=f'the networks; the uncompressed one is "{DENSE}"')
    add("--dataset", required=True, help='"folder:PATH"')
    add("--size", dest="sizes", action="append", required=True, metavar="HxW", help="may be given again")
    add("--threads", type=int, default=2, help="of every runtime (default: 2)")
    add("--seconds", type=float, default=120, help="of timing for each size (default: 120)")
    add("--images", type=int, help="to judge on (default: the whole validation split)")
    add("--set", dest="settings", action="append", default=[], metavar="A.B=C", help="a field of the recipe")
    add("--folder", type=Path, default=Path("compressed"), help="where the builds lie (default: compressed)")
    add("-o", "--out", type=Path, help="where the tables go, and with .SIZE.json what is behind them")
    found = parser.parse_args()
    found.networks = {name: Path(folder) for name, _, folder in (one.partition("=") for one in found.networks)}
    if DENSE not in found.networks:
        parser.error(f"no network is called {DENSE}: give {DENSE}=CHECKPOINT")
    try:
        found.sizes = [(int(height), int(width)) for height, width in (size.split("x") for size in found.sizes)]
    except ValueError:
        parser.error("--size is HEIGHTxWIDTH")
    return found


def main() -> None:
    """Measure size after size; the file is written anew after each."""
    options = arguments()
    made_by = f"python {shlex.join(['benchmarks/experiments/compressed.py', *sys.argv[1:]])}"
    parts: list[str] = []
    settings = BenchSettings(images=options.images, latency=LatencySettings(seconds=options.seconds))
    for size in options.sizes:
        sizes = {name: size_of(checkpoint, size) for name, checkpoint in options.networks.items()}
        try:
            with Display() as display:
                plan, engines = contenders(options, size, sizes, display)
                display.start("measure")
                split = plan.dataset.split(plan.recipe.data.val)
                found = measure(engines, plan.spec, split, settings, options.threads, display.progress)
        except VisionDeployError as error:
            sys.exit(f"{size[0]}x{size[1]}: {error}")
        report = Report(environment=capture(options.threads), rows=tuple(found.rows), verdict=Verdict.of([]))
        parts.append(f"## {size[0]}×{size[1]}\n\n{cells.machine(report.environment)}\n\n{table(found.rows, sizes)}\n")
        text = "\n".join([*parts, f"```sh\n{made_by}\n```\n"])
        if options.out:
            write_atomic(options.out, text)
            write_atomic(options.out.with_suffix(f".{size[0]}x{size[1]}.json"), report.to_json())
    print(text)


if __name__ == "__main__":
    main()
