"""`deploy build`: the order of the stages, in one place.

    train or load ─► [compress] ─► [qat] ─► export ─► convert (fp16) or quantise (int8) ─► compile by backend
    ─► measure ─► verdict

With `--io uint8` what is compiled is wrapped before: raw images go in, and what follows the network is in the graph.
An ONNX file of somebody else is adopted as it is instead of all before export, and prepared for other precisions.
Each arrow goes through the store: its key is made of the digests of what goes in, the stage's settings and
version and the versions of its tools. With everything in the store no stage runs and no torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visiondeploy import __version__
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.adoption import adopt, prepared
from visiondeploy.pipeline.compression import compress
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import BuildRecord, Engine, check_target, earlier_recipe, materialise
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan, Until
from visiondeploy.pipeline.precise import Precise
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.stages.adopt import reported
from visiondeploy.pipeline.stages.prepare import PREPARED
from visiondeploy.pipeline.store import Artifact, Store
from visiondeploy.pipeline.walk import Compiled, Measured, Walk
from visiondeploy.pipeline.weighing import Compressed
from visiondeploy.pipeline.wrapping import Wrapping


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
    ledger, given = _begun(recipe, store, events, until)
    plan = ledger.plan
    name = plan.name(until)
    folder = out or Path("builds") / name
    check_target(folder)
    made = plan.recipe.model_dump(mode="json")
    if earlier_recipe(folder) not in (None, made):
        events.tell(f"{folder} holds a build of another recipe, which this one replaces; keep both with -o")
    walk = Walk(ledger)

    network = given or walk.network()
    places: dict[str, Artifact] = {plan.home: network}
    wrapped: dict[str, Artifact] = {}
    small: Compressed | None = None
    engines: list[Compiled] = []
    baseline: Compiled | None = None
    measured: Measured | None = None
    if until != "train" and recipe.compress.steps:
        small = compress(ledger, network)
        ledger.checks += small.checks
        places |= small.places
    if until not in {"train", "compress"}:
        # What engines are made from. What they are compared with stays the network as it was.
        lean = small.network if small else network
        tuned = walk.tuned(lean)
        if tuned is not lean:
            places["network-qat"] = tuned
        exported = given or walk.export(tuned)
        places["onnx-fp32" if given is None else plan.home] = exported
    if until not in {"train", "compress", "export"}:
        folded = exported if given is None else prepared(ledger, given)
        if folded is not exported:
            places[PREPARED] = folded
        ready = Precise(ledger).precise(tuned, folded)
        precision = plan.recipe.precision
        for backend in plan.backends if precision is not plan.own else ():
            scheme = f"-{plan.scheme(backend)}" if precision.quantised else ""
            places[f"onnx-{precision}{scheme}"] = ready[backend.name]
    if until in {"compile", "measure"}:
        wrapping = Wrapping(ledger)
        wrapped = wrapping.wrapped(network, exported, ready)
        places |= wrapping.places(wrapped)
        engines = walk.compile(network, exported, ready, wrapped)
        places |= {f"engines/{engine.backend.name}": engine.artifact for engine in engines}
    if until == "measure":
        baseline = walk.baseline(network, engines, wrapped)
        if wrapped:
            places[f"engines/{baseline.backend.name}"] = baseline.artifact
        measured = walk.measure(network, tuned, baseline, engines)

    parameters = small.network.meta["parameters"] if small and small.is_other else None
    record = BuildRecord(
        name=name,
        visiondeploy=__version__,
        until=until,
        recipe=made,
        spec=(plan.served if engines else plan.spec).model_copy(update={"trained_steps": network.meta.get("steps", 0)}),
        network=network.digest,
        parameters=network.meta["parameters"],
        validation=plan.validation,
        engine=_fastest(ledger, measured, engines, baseline, compressed=parameters is not None) if measured else None,
        engines=tuple(_engine(engine, f"engines/{engine.backend.name}", parameters) for engine in engines),
        baseline=_engine(baseline, f"engines/{baseline.backend.name}" if wrapped else plan.home) if baseline else None,
        left_out=tuple(ledger.left_out),
        parity=tuple(ledger.checks),
        stages=tuple(ledger.stages),
    )
    report = _report(ledger, measured, small) if measured else small.report if small and until == "compress" else None
    return Built(folder, materialise(folder, places, record, report), report)


def _begun(recipe: Recipe, store: Store, events: Events, until: Until) -> tuple[Ledger, Artifact | None]:
    """A ledger with a plan that can be carried out, and the ONNX file that the recipe names, where it names one."""
    ledger = Ledger(Plan(recipe), store, events)
    given = adopt(ledger, until) if recipe.model.onnx is not None else None
    ledger.plan.check()
    return ledger, given


def _engine(engine: Compiled, folder: str, parameters: int | None = None) -> Engine:
    return Engine(
        backend=engine.backend.name,
        precision=engine.precision,
        folder=folder,
        size_bytes=engine.size_bytes,
        layers=engine.realised.layers,
        stored=engine.realised.stored,
        parameters=parameters,
    )


def _report(ledger: Ledger, measured: Measured, small: Compressed | None) -> Report:
    return Report(
        environment=measured.environment,
        rows=(*measured.rows, *ledger.left_out),
        # What "auto" left out is no engine of this build, and is not judged.
        verdict=gate.verdict(
            ledger.checks,
            measured.rows,
            ledger.plan.recipe.limits,
            ledger.trained,
            compressed=small is not None and small.is_other,
        ),
        notes=(*ledger.notes, *gate.notes(ledger.plan.served, ledger.trained)),
        noise=measured.noise,
        compression=small.record.apart() if small else None,
        file=reported(ledger.plan.spec),
    )


def _fastest(
    ledger: Ledger, measured: Measured, engines: list[Compiled], baseline: Compiled | None, *, compressed: bool
) -> str | None:
    """The backend of the fastest engine that holds its limits. The baseline is one where it was asked for."""
    recipe, limits = ledger.plan.recipe, ledger.plan.recipe.limits
    known = {e.backend.name for e in engines if recipe.engine.allow_fallback or not e.realised.fallbacks()}
    speed = {
        row.backend: row.speedup.value
        for row in (measured.rows if baseline in engines else measured.rows[1:])
        if row.backend in known and row.speedup and gate.passes(row, limits, ledger.trained, compressed=compressed)
    }
    return max(speed, key=speed.__getitem__, default=None)
