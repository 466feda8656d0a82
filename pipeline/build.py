"""`deploy build`: the order of the stages, in one place.

    train or load ─► export ─► convert (fp16) or quantise (int8) ─► compile, once a backend ─► measure ─► verdict

Each arrow goes through the store: its key is made of the digests of what goes in, the stage's settings and
version and the versions of its tools. With everything in the store no stage runs and no torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visiondeploy import __version__
from visiondeploy.benchmarks.report.schema import Report, Row
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import BuildRecord, Engine, check_target, materialise
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.store import Artifact, Store
from visiondeploy.pipeline.walk import Compiled, Walk
from visiondeploy.types import Precision, Status

Until = Literal["train", "export", "compile", "measure"]


@dataclass(frozen=True, slots=True)
class Built:
    """The outcome of a build: its folder, what is in it, and the report if it was measured."""

    folder: Path
    record: BuildRecord
    report: Report | None


def build(recipe: Recipe, store: Store, out: Path | None, events: Events, until: Until = "measure") -> Built:
    """Run the stages of a recipe up to `until` and lay the results out in a folder (`builds/NAME` for None).

    Raises the errors of `visiondeploy.errors`; a verdict that is not PASS is in the report, not raised.
    """
    plan = Plan(recipe)
    plan.check()
    folder = out or Path("builds") / plan.name
    check_target(folder)
    walk = Walk(plan, store, events)

    network = walk.network()
    places: dict[str, Artifact] = {"network": network}
    engines: list[Compiled] = []
    baseline: Compiled | None = None
    rows: list[Row] = []
    if until != "train":
        exported = walk.export(network)
        places["onnx-fp32"] = exported
    if until in {"compile", "measure"}:
        ready = walk.precise(exported)
        for backend in plan.backends if recipe.precision is not Precision.FP32 else ():
            scheme = f"-{plan.scheme(backend)}" if recipe.precision is Precision.INT8 else ""
            places[f"onnx-{recipe.precision}{scheme}"] = ready[backend.name]
        engines = walk.compile(network, exported, ready)
        places |= {f"engines/{engine.backend.name}": engine.artifact for engine in engines}
    if until == "measure":
        baseline = walk.baseline(network, engines)
        rows = walk.measure(network, baseline, engines)

    record = BuildRecord(
        name=plan.name,
        visiondeploy=__version__,
        until=until,
        recipe=recipe.model_dump(mode="json"),
        spec=plan.spec.model_copy(update={"trained_steps": network.meta["steps"]}),
        network=network.digest,
        parameters=network.meta["parameters"],
        validation=plan.validation,
        engine=_fastest(rows, engines),
        engines=tuple(_engine(engine, f"engines/{engine.backend.name}") for engine in engines),
        baseline=_engine(baseline, "network") if baseline else None,
        parity=tuple(walk.checks),
        stages=tuple(walk.stages),
    )
    report = _report(walk, rows) if rows else None
    return Built(folder, materialise(folder, places, record, report), report)


def _engine(engine: Compiled, folder: str) -> Engine:
    return Engine(
        backend=engine.backend.name,
        precision=engine.precision,
        folder=folder,
        size_bytes=engine.size_bytes,
        layers=engine.realised.layers,
        stored=engine.realised.stored,
    )


def _report(walk: Walk, rows: list[Row]) -> Report:
    notes = (*walk.left_out, *(() if walk.trained else (gate.UNTRAINED,)))
    return Report(
        environment=walk.plan.environment,
        rows=tuple(rows),
        verdict=gate.verdict(walk.checks, rows, walk.plan.recipe.limits, walk.trained),
        notes=notes,
    )


def _fastest(rows: list[Row], engines: list[Compiled]) -> str | None:
    """The backend of the fastest row that ran."""
    known = {engine.backend.name for engine in engines}
    ran = [row for row in rows if row.status is Status.OK and row.backend in known and row.speedup]
    return max(ran, key=lambda row: row.speedup.value if row.speedup else 0.0).backend if ran else None
