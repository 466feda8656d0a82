"""The stages of a build, each through the store: its inputs, its settings, its key, and the check of its parity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.report.measured import Noise
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Environment, Row
from visiondeploy.errors import GateFailed, InputError
from visiondeploy.models.launch import launched
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.backends.table import BACKENDS, REFERENCES
from visiondeploy.pipeline.ledger import Ledger, Make, parity_note
from visiondeploy.pipeline.plan import Plan, Until
from visiondeploy.pipeline.recipe import row_name
from visiondeploy.pipeline.stages import compile as compiling
from visiondeploy.pipeline.stages import export, qat, train
from visiondeploy.pipeline.stages import measure as measuring
from visiondeploy.pipeline.store import Artifact, Step, sha256_file, tool_versions
from visiondeploy.types import Layer, Outcome, Precision, Realised, Status


@dataclass(frozen=True, slots=True)
class Compiled:
    """An engine with the backend that made it, and its parity with what it was compiled from."""

    backend: Backend
    precision: Precision
    artifact: Artifact

    @property
    def parity(self) -> AgreementRow | None:
        """None where the backend itself is the reference, and where its engine cannot run here."""
        found = self.artifact.meta["parity"]
        return AgreementRow.model_validate(found[self.backend.name]) if self.backend.name in found else None

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""
        return sum(record.size for record in self.artifact.files.values())

    @property
    def realised(self) -> Realised:
        """The layers as the runtime executes them."""
        meta = self.artifact.meta
        return Realised(tuple(Layer(**layer) for layer in meta["layers"]), dict(meta["stored"]))


@dataclass(frozen=True, slots=True)
class Measured:
    """Baseline and engines, measured in one run, and the machine as it was then."""

    rows: tuple[Row, ...]
    environment: Environment
    noise: Noise | None = None


@dataclass
class Walk:
    """The stages that every build has, from the network to the measurement."""

    ledger: Ledger

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

    def network(self) -> Artifact:
        """Train, or take a checkpoint over."""
        recipe, spec = self.plan.recipe, self.plan.spec
        if recipe.model.checkpoint is not None:
            folder = Path(recipe.model.checkpoint)
            inputs = {name: sha256_file(folder / name) for name in ("network.json", "weights.safetensors")}
            step = Step("load", train.VERSION, inputs, spec, tool_versions("safetensors"))
            return self._network("load", step, lambda out: train.load(folder, spec, out))
        step = self._training_step()
        return self._network("train", step, lambda out: self._train(step, out))

    def tuned(self, network: Artifact) -> Artifact:
        """The network fine-tuned for int8, or as it is where the recipe wants no such steps."""
        if not self.plan.recipe.qat.steps:
            return network
        step = self._tuning_step(network)
        return self.ledger.run("qat", step, "network", lambda out: self._tune(network, step, out), _trained_note)

    def follow(self, until: Until, compressed: Callable[[Artifact], Artifact]) -> None:
        """What a process of `torchrun` that is not the first one does: train along, and write nothing.

        `compressed` gives what compression makes of the network.
        """
        step = self._training_step()
        if self.plan.recipe.model.checkpoint is None and self.ledger.store.get(step.key) is None:
            self._train(step, None)
        if until == "train" or not (self.plan.recipe.compress.steps or self.plan.recipe.qat.steps):
            return
        # From the store: the first process holds its lock until the network is there.
        network = compressed(self.network())
        if self.plan.recipe.qat.steps and until != "compress":
            step = self._tuning_step(network)
            if self.ledger.store.get(step.key) is None:
                self._tune(network, step, None)

    def _training_step(self) -> Step:
        recipe = self.plan.recipe
        inputs = {"train": self.plan.dataset.digest(recipe.data.train), "validation": self.plan.validation}
        if recipe.model.start is not None:
            inputs["start"] = sha256_file(Path(recipe.model.start) / "weights.safetensors")
        settings: dict[str, Any] = {
            "spec": self.plan.spec.model_dump(mode="json"),
            "train": recipe.train.model_dump(mode="json"),
            "augment": recipe.augment.model_dump(mode="json"),
            # Each process adds a batch to every step.
            "processes": launched().count,
        }
        return Step("train", train.VERSION, inputs, settings, tool_versions(*train.TOOLS))

    def _train(self, step: Step, out: Path | None) -> Mapping[str, Any]:
        recipe = self.plan.recipe
        splits = (recipe.data.train, recipe.data.val)
        work = self.ledger.training_work(step) if recipe.train.steps else self.ledger.store.work(step.key)
        return train.train(
            self.plan.spec,
            recipe.model.start,
            self.plan.dataset,
            splits,
            recipe.train,
            recipe.augment,
            recipe.threads,
            work,
            out,
            self.ledger.events.progress,
        )

    def _tuning_step(self, network: Artifact) -> Step:
        recipe, (bits, symmetric) = self.plan.recipe, self.plan.codes
        inputs = {
            "network": network.digest,
            "train": self.plan.dataset.digest(recipe.data.train),
            "validation": self.plan.validation,
        }
        settings: dict[str, Any] = {
            "qat": recipe.qat.model_dump(mode="json"),
            "augment": recipe.augment.model_dump(mode="json"),
            "weight_bits": bits,
            "symmetric": symmetric,
            "processes": launched().count,
        }
        return Step("qat", qat.VERSION, inputs, settings, tool_versions(*qat.TOOLS))

    def _tune(self, network: Artifact, step: Step, out: Path | None) -> Mapping[str, Any]:
        recipe = self.plan.recipe
        work = self.ledger.training_work(step)
        return qat.tune(
            network.folder,
            self.plan.dataset,
            (recipe.data.train, recipe.data.val),
            recipe.qat,
            recipe.augment,
            *self.plan.codes,
            recipe.threads,
            work,
            out,
            self.ledger.events.progress,
        )

    def _network(self, stage: str, step: Step, make: Make) -> Artifact:
        made = self.ledger.run(stage, step, "network", make, _trained_note)
        self.ledger.trained = made.meta["steps"] > 0
        return made

    def export(self, network: Artifact) -> Artifact:
        """To ONNX and TorchScript."""
        settings: dict[str, Any] = {
            # The graph for raw images is made of this one, in a stage of its own.
            "export": self.plan.recipe.export.model_dump(mode="json", exclude={"io"}),
            "parity_images": self.plan.recipe.limits.parity_images,
        }
        inputs = {"network": network.digest, "validation": self.plan.validation}
        step = Step("export", export.VERSION, inputs, settings, tool_versions(*export.TOOLS))
        threads = self.plan.recipe.threads

        def make(out: Path) -> Mapping[str, Any]:
            return export.export(network.folder, self.plan.samples, self.plan.recipe.export, threads, out)

        made = self.ledger.run(
            "export", step, "exported", make, lambda meta: f"{meta['nodes']} nodes, {parity_note(meta)}"
        )
        for kind in ("onnx", "torchscript"):
            self.ledger.check(f"parity export {kind}", made, kind, self.plan.recipe.limits.export_sqnr_db, pixels=False)
        return made

    def compile(
        self, network: Artifact, exported: Artifact, ready: Mapping[str, Artifact], wrapped: Mapping[str, Artifact]
    ) -> list[Compiled]:
        """One engine for each backend. The ones that fail parity are named; none left is an error.

        `ready` has the ONNX graph for each backend, `wrapped` what takes raw images, where that was asked for.
        """
        limits, precision = self.plan.recipe.limits, self.plan.recipe.precision
        for name, reason in self.plan.unusable.items():
            self.ledger.leave_out(name, Status.NOT_RUN, reason)
        good: list[Compiled] = []
        faults: dict[str, str] = {}
        for backend in self.plan.backends:
            sources = {"network": network, "torchscript": exported, "onnx": ready[backend.name]}
            try:
                engine, checks = self._engine(backend, precision, sources[backend.source], wrapped.get(backend.name))
            except InputError as error:
                # Of somebody else's graph it is not said that each runtime knows all operators.
                if self.plan.graph is None or self.plan.recipe.backend != "auto":
                    raise
                faults[backend.name] = str(error).rstrip(".")
                continue
            wrong = [check for check in checks if check.status is not Outcome.PASS]
            if wrong:
                faults[backend.name] = "; ".join(f"{c.name}: {c.found}, limit {c.limit}" for c in wrong)
                continue
            self.ledger.checks += checks
            self._prove(engine)
            good.append(engine)
        if not good:
            raise GateFailed(
                f"no engine computes what its source does ({'; '.join(faults.values())}): the runtime is at fault; "
                "try another backend."
            )
        exact = [engine for engine in good if engine.realised.layers and not engine.realised.off(precision)]
        if limits.strict and exact:
            # With none that is exact all are kept, and the verdict fails on each.
            faults |= {
                engine.backend.name: f"limits.strict: {len(engine.realised.off(precision))} layers not in {precision}"
                for engine in good
                if engine not in exact
            }
            good = exact
        for name, fault in faults.items():
            self.ledger.leave_out(name, Status.FAILED, f"left out, {fault}.")
        return good

    def _prove(self, engine: Compiled) -> None:
        """Hold an engine's layers against the types that its graph asks for, where the backend tells of both."""
        check = gate.precision_check(engine.backend.name, engine.realised)
        if check is None:
            return
        if check.status is not Outcome.PASS and self.plan.recipe.engine.allow_fallback:
            said = f"{check.name}: {check.found}, which --allow-fallback allows"
            self.ledger.events.warn(said)
            self.ledger.notes.append(said)
            return
        self.ledger.checks.append(check)

    def _engine(
        self, backend: Backend, precision: Precision, source: Artifact, wrapped: Artifact | None
    ) -> tuple[Compiled, list[Check]]:
        """The engine of a backend with the checks of its parity, of its values and then of the classes in its map."""
        limits, checks = self.plan.recipe.limits, []
        if wrapped is not None and backend.name == REFERENCES[backend.source]:
            # It runs the wrapped file itself, as the stage did that wrapped it.
            return Compiled(backend, precision, self._compile(backend, wrapped, served=True)), []
        engine = Compiled(backend, precision, self._compile(backend, source))
        if engine.parity is not None:
            checks.append(gate.parity_check(f"parity {backend.name}", engine.parity, limits.compile_sqnr_db, None))
        if wrapped is not None:
            made = self._compile(backend, wrapped, served=True, bare=engine.artifact)
            engine = Compiled(backend, precision, made)
            if engine.parity is not None:
                name = f"parity {backend.name} {self.plan.served.io}"
                checks.append(gate.served_check(name, engine.parity, limits))
        return engine, checks

    def baseline(self, network: Artifact, engines: Sequence[Compiled], wrapped: Mapping[str, Artifact]) -> Compiled:
        """The network itself as an engine, which may be among `engines` already: what every row is compared with."""
        backend, precision = self.plan.baseline, self.plan.own
        for engine in engines:
            if engine.backend is backend and engine.precision is precision:
                return engine
        return self._engine(backend, precision, network, wrapped.get(backend.name))[0]

    def _compile(
        self, backend: Backend, source: Artifact, *, served: bool = False, bare: Artifact | None = None
    ) -> Artifact:
        """An engine; `served` where it takes raw images, `bare` the engine without them that it is compared with."""
        plan, reference = self.plan, REFERENCES[backend.source]
        tools = tool_versions(*compiling.TOOLS, *backend.packages, *BACKENDS[reference].packages)
        settings: dict[str, Any] = {
            "backend": backend.name,
            "threads": self.plan.recipe.threads,
            "parity_images": self.plan.recipe.limits.parity_images,
            "machine": fingerprint(self.plan.environment),
        }
        if heeded := self.plan.heeded(backend):
            settings["engine"] = heeded
        inputs = {"source": source.digest, "validation": self.plan.validation}
        if bare is not None:
            inputs["bare"] = bare.digest
        step = Step("compile", compiling.VERSION, inputs, settings, tools)

        def make(out: Path) -> Mapping[str, Any]:
            task, samples = (plan.served_task, plan.served_samples) if served else (plan.task, plan.samples)
            threads, settings = plan.recipe.threads, plan.recipe.engine
            if bare is not None:
                return compiling.compile_served(
                    backend, bare.folder, source.folder, task, plan.samples, samples, threads, out, settings
                )
            return compiling.compile_engine(
                backend, BACKENDS[reference], source.folder, task, samples, threads, out, settings
            )

        def note(meta: Mapping[str, Any]) -> str:
            kinds = Counter(layer["compute"] for layer in meta["layers"])
            return ", ".join(f"{count} layers {kind}" for kind, count in kinds.most_common())

        name = f"compile {backend.name} {plan.served.io}" if served else f"compile {backend.name}"
        return self.ledger.run(name, step, "engine", make, note)

    def measure(self, network: Artifact, made_from: Artifact, baseline: Compiled, engines: list[Compiled]) -> Measured:
        """Baseline and engines in one run: the network itself, and what was made from `made_from`."""
        recipe = self.plan.recipe
        inputs = {
            "baseline": baseline.artifact.digest,
            "validation": self.plan.validation,
            **{engine.backend.name: engine.artifact.digest for engine in engines},
        }
        settings: dict[str, Any] = {
            "bench": recipe.bench.model_dump(mode="json"),
            "name": "-".join(filter(None, (recipe.name, recipe.compress.label))),
            "precision": recipe.precision,
            "threads": recipe.threads,
            "machine": fingerprint(self.plan.environment),
        }
        if self.plan.graph is not None:
            # Of a file the engines do not hang on what it is fed beside images, nor on what its pictures are judged by.
            settings["spec"] = self.plan.spec.model_dump(mode="json")
        tools = tool_versions(*measuring.TOOLS, *(p for b in BACKENDS.values() for p in b.packages))
        step = Step("measure", measuring.VERSION, inputs, settings, tools)
        contenders = [self.contender(baseline, network)]
        contenders += [
            self.contender(engine, made_from, recipe.compress.label) for engine in engines if engine is not baseline
        ]

        def make(out: Path) -> Mapping[str, Any]:
            return self.measured(contenders, self.plan.served)

        made = self.ledger.run("measure", step, "measurement", make, lambda meta: f"{len(meta['rows'])} rows")
        rows = tuple(Row.model_validate(row) for row in made.meta["rows"])
        return Measured(rows, Environment.model_validate(made.meta["environment"]), noise_of(made.meta))

    def measured(self, contenders: Sequence[measuring.Contender], spec: NetworkSpec) -> dict[str, Any]:
        """Measure now: the rows, as JSON, and the machine as it is, since what comes from the store is not of today."""
        recipe = self.plan.recipe
        split = self.plan.dataset.split(recipe.data.val)
        found = measuring.measure(contenders, spec, split, recipe.bench, recipe.threads, self.ledger.events.progress)
        return {
            "rows": [row.model_dump(mode="json") for row in found.rows],
            "environment": found.seen_on(self.plan.environment).model_dump(mode="json"),
            "noise": found.noise and found.noise.model_dump(mode="json"),
        }

    def contender(self, engine: Compiled, network: Artifact, label: str = "") -> measuring.Contender:
        """An engine of a network as the measure stage wants it; `label` says what was done to the network."""
        recipe, name = self.plan.recipe, engine.backend.name
        return measuring.Contender(
            name=row_name(recipe.name, label, engine.precision, name),
            model=recipe.name,
            backend=name,
            precision=engine.precision,
            folder=engine.artifact.folder,
            size_bytes=engine.size_bytes,
            parameters=network.meta["parameters"],
            realised=engine.realised,
            notes=qat.notes(recipe.qat) if engine.precision is Precision.INT8 else (),
        )


def noise_of(meta: Mapping[str, Any]) -> Noise | None:
    """The noise of a measurement that was recorded; None where it was not measured."""
    found = meta.get("noise")
    return None if found is None else Noise.model_validate(found)


def _trained_note(meta: Mapping[str, Any]) -> str:
    """What came out of training, in a few words."""
    if not meta["steps"]:
        return "random weights"
    metrics = [
        f"{name} {value:.3f}" for entry in meta["history"][-1:] for name, value in entry.items() if name != "step"
    ]
    return ", ".join([f"{meta['steps']} steps", *metrics])
