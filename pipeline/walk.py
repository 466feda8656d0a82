"""The stages of a build, each through the store: its inputs, its settings, its key, and the check of its parity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Environment, Row
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.errors import GateFailed
from visiondeploy.models.launch import launched
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import StageRecord
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import compile as compiling
from visiondeploy.pipeline.stages import convert, export, quantise, train
from visiondeploy.pipeline.stages import measure as measuring
from visiondeploy.pipeline.store import Artifact, Step, Store, sha256_file, tool_versions
from visiondeploy.types import Layer, Outcome, Precision, Realised, Status


@dataclass(frozen=True, slots=True)
class Compiled:
    """An engine with the backend that made it, and its parity with what it was compiled from."""

    backend: Backend
    precision: Precision
    artifact: Artifact

    @property
    def parity(self) -> AgreementRow | None:
        """None where the backend itself is the reference: then there is nothing to compare with."""
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


@dataclass
class Walk:
    """One build under way: its plan, the store, and what the stages found so far."""

    plan: Plan
    store: Store
    events: Events
    trained: bool = True
    checks: list[Check] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)

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

    def follow(self) -> None:
        """What a process of `torchrun` that is not the first one does: train along, and write nothing."""
        step = self._training_step()
        if self.plan.recipe.model.checkpoint is None and self.store.get(step.key) is None:
            self._train(step, None)

    def _training_step(self) -> Step:
        recipe = self.plan.recipe
        inputs = {"train": self.plan.dataset.digest(recipe.data.train), "validation": self.plan.validation}
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
        work = self.store.work(step.key)
        if recipe.train.steps:
            self.events.tell(f"to watch: tensorboard --logdir {work / 'tensorboard'}")
        return train.train(
            self.plan.spec,
            self.plan.dataset,
            splits,
            recipe.train,
            recipe.augment,
            recipe.threads,
            work,
            out,
            self.events.progress,
        )

    def _network(self, stage: str, step: Step, make: Callable[[Path], Mapping[str, Any]]) -> Artifact:
        made = self._run(stage, step, "network", make, _trained_note)
        self.trained = made.meta["steps"] > 0
        return made

    def export(self, network: Artifact) -> Artifact:
        """To ONNX and TorchScript."""
        settings: dict[str, Any] = {
            "export": self.plan.recipe.export.model_dump(mode="json"),
            "parity_images": self.plan.recipe.limits.parity_images,
        }
        inputs = {"network": network.digest, "validation": self.plan.validation}
        step = Step("export", export.VERSION, inputs, settings, tool_versions(*export.TOOLS))
        threads = self.plan.recipe.threads

        def make(out: Path) -> Mapping[str, Any]:
            return export.export(network.folder, self.plan.samples, self.plan.recipe.export, threads, out)

        made = self._run("export", step, "exported", make, lambda meta: f"{meta['nodes']} nodes, {_said(meta)}")
        for kind in ("onnx", "torchscript"):
            self._check(f"parity export {kind}", made, kind, self.plan.recipe.limits.export_sqnr_db, pixels=False)
        return made

    def precise(self, exported: Artifact) -> dict[str, Artifact]:
        """The ONNX graph in the precision that was asked for: for each backend by its name."""
        recipe, names = self.plan.recipe, [backend.name for backend in self.plan.backends]
        if recipe.precision is Precision.FP32:
            return dict.fromkeys(names, exported)
        inputs = {"exported": exported.digest, "validation": self.plan.validation}
        images = recipe.limits.parity_images
        if recipe.precision is Precision.FP16:
            step = Step("convert", convert.VERSION, inputs, {"parity_images": images}, tool_versions(*convert.TOOLS))

            def make(out: Path) -> Mapping[str, Any]:
                return convert.convert(exported.folder, self.plan.task, self.plan.samples, recipe.threads, out)

            made = self._run("convert", step, "onnx", make, _said)
            self._check("parity fp16", made, "onnx", recipe.limits.convert_sqnr_db, pixels=True)
            return dict.fromkeys(names, made)
        schemes = {backend.name: self.plan.scheme(backend) for backend in self.plan.backends}
        files = {scheme: self._quantised(scheme, exported) for scheme in dict.fromkeys(schemes.values())}
        return {name: files[scheme] for name, scheme in schemes.items()}

    def _quantised(self, scheme: str, exported: Artifact) -> Artifact:
        """The ONNX graph with the Q/DQ of a scheme."""
        recipe = self.plan.recipe
        bits = self.plan.weight_bits(scheme)
        settings: dict[str, Any] = {
            # "auto" and the scheme that it stands for make the same file.
            "calibration": recipe.calibration.model_dump(mode="json") | {"scheme": scheme, "weight_bits": bits},
            "parity_images": recipe.limits.parity_images,
            "spec": self.plan.spec.input.model_dump(mode="json"),
        }
        inputs = {
            "exported": exported.digest,
            "validation": self.plan.validation,
            "calibration": self.plan.dataset.digest(recipe.data.calibration),
        }
        step = Step("quantise", quantise.VERSION, inputs, settings, tool_versions(*quantise.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            return quantise.quantise(
                exported.folder,
                self.plan.task,
                self.plan.dataset.split(recipe.data.calibration),
                self.plan.samples,
                recipe.calibration,
                SCHEMES[scheme],
                bits,
                recipe.threads,
                out,
                self.events.progress,
            )

        def note(meta: Mapping[str, Any]) -> str:
            return f"{meta['images']} images, {_said(meta)}"

        made = self._run(f"quantise {scheme}", step, "onnx", make, note)
        self._check(f"parity int8 {scheme}", made, "onnx", recipe.limits.quantise_sqnr_db, pixels=True)
        return made

    def compile(self, network: Artifact, exported: Artifact, ready: Mapping[str, Artifact]) -> list[Compiled]:
        """One engine for each backend. The ones that fail parity are named; none left is an error."""
        limits, precision = self.plan.recipe.limits, self.plan.recipe.precision
        for name, reason in self.plan.unusable.items():
            self._leave_out(name, Status.NOT_RUN, reason)
        good: list[Compiled] = []
        faults: dict[str, str] = {}
        for backend in self.plan.backends:
            sources = {"network": network, "torchscript": exported, "onnx": ready[backend.name]}
            engine = Compiled(backend, precision, self._compile(backend, sources[backend.source]))
            if engine.parity is not None:
                check = gate.parity_check(f"parity {backend.name}", engine.parity, limits.compile_sqnr_db, None)
                if check.status is not Outcome.PASS:
                    faults[backend.name] = f"{check.name}: {check.found}, limit {check.limit}"
                    continue
                self.checks.append(check)
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
            self._leave_out(name, Status.FAILED, f"left out, {fault}.")
        return good

    def _leave_out(self, backend: str, status: Status, reason: str) -> None:
        """A row of the report for what "auto" would have built, so that nobody takes it for measured or forgotten."""
        recipe = self.plan.recipe
        self.events.warn(f"{backend}: {reason}")
        self.left_out.append(
            Row(
                name=f"{recipe.name}-{recipe.precision}-{backend}",
                model=recipe.name,
                backend=backend,
                precision=recipe.precision,
                status=status,
                reason=reason,
            )
        )

    def baseline(self, network: Artifact, engines: Sequence[Compiled]) -> Compiled:
        """The network itself as an engine, which may be among `engines` already: what every row is compared with."""
        backend = BACKENDS[measuring.BASELINE]
        for engine in engines:
            if engine.backend is backend:
                return engine
        return Compiled(backend, Precision.FP32, self._compile(backend, network))

    def _compile(self, backend: Backend, source: Artifact) -> Artifact:
        reference = {"network": "pytorch", "torchscript": "torchscript", "onnx": "onnxruntime"}[backend.source]
        tools = tool_versions(*compiling.TOOLS, *backend.packages, *BACKENDS[reference].packages)
        settings: dict[str, Any] = {
            "backend": backend.name,
            "threads": self.plan.recipe.threads,
            "parity_images": self.plan.recipe.limits.parity_images,
            "machine": fingerprint(self.plan.environment),
        }
        inputs = {"source": source.digest, "validation": self.plan.validation}
        step = Step("compile", compiling.VERSION, inputs, settings, tools)

        def make(out: Path) -> Mapping[str, Any]:
            return compiling.compile_engine(
                backend,
                BACKENDS[reference],
                source.folder,
                self.plan.task,
                self.plan.samples,
                self.plan.recipe.threads,
                out,
            )

        def note(meta: Mapping[str, Any]) -> str:
            kinds = Counter(layer["compute"] for layer in meta["layers"])
            return ", ".join(f"{count} layers {kind}" for kind, count in kinds.most_common())

        return self._run(f"compile {backend.name}", step, "engine", make, note)

    def measure(self, network: Artifact, baseline: Compiled, engines: list[Compiled]) -> Measured:
        """Baseline and engines in one run."""
        recipe = self.plan.recipe
        inputs = {
            "baseline": baseline.artifact.digest,
            "validation": self.plan.validation,
            **{engine.backend.name: engine.artifact.digest for engine in engines},
        }
        settings: dict[str, Any] = {
            "bench": recipe.bench.model_dump(mode="json"),
            "name": recipe.name,
            "precision": recipe.precision,
            "threads": recipe.threads,
            "machine": fingerprint(self.plan.environment),
        }
        tools = tool_versions(*measuring.TOOLS, *(p for b in BACKENDS.values() for p in b.packages))
        step = Step("measure", measuring.VERSION, inputs, settings, tools)
        contenders = [self.contender(baseline, network)]
        contenders += [self.contender(e, network) for e in engines if e.backend.name != measuring.BASELINE]

        def make(out: Path) -> Mapping[str, Any]:
            split = self.plan.dataset.split(recipe.data.val)
            rows = measuring.measure(
                contenders, self.plan.spec, split, recipe.bench, recipe.threads, self.events.progress
            )
            # With the machine as it was then: a measurement that comes from the store is not one of today.
            return {
                "rows": [row.model_dump(mode="json") for row in rows],
                "environment": self.plan.environment.model_dump(mode="json"),
            }

        made = self._run("measure", step, "measurement", make, lambda meta: f"{len(meta['rows'])} rows")
        rows = tuple(Row.model_validate(row) for row in made.meta["rows"])
        return Measured(rows, Environment.model_validate(made.meta["environment"]))

    def contender(self, engine: Compiled, network: Artifact) -> measuring.Contender:
        """An engine as the measure stage wants it."""
        recipe, name = self.plan.recipe, engine.backend.name
        return measuring.Contender(
            name=f"{recipe.name}-{engine.precision}-{name}",
            model=recipe.name,
            backend=name,
            precision=engine.precision,
            folder=engine.artifact.folder,
            size_bytes=engine.size_bytes,
            parameters=network.meta["parameters"],
            realised=engine.realised,
        )

    def _check(self, name: str, artifact: Artifact, kind: str, sqnr_db: float, *, pixels: bool) -> None:
        found = AgreementRow.model_validate(artifact.meta["parity"][kind])
        # The classes of a network with random weights hang on its noise.
        agreement = self.plan.recipe.limits.agreement if pixels and self.trained else None
        self.checks.append(gate.parity_check(name, found, sqnr_db, agreement))

    def _run(
        self,
        stage: str,
        step: Step,
        kind: str,
        make: Callable[[Path], Mapping[str, Any]],
        note: Callable[[Mapping[str, Any]], str],
    ) -> Artifact:
        self.events.start(stage)
        ran = self.store.run(step, kind, make)
        self.events.end(stage, ran.seconds, ran.cached, note(ran.artifact.meta))
        self.stages.append(StageRecord(name=stage, key=step.key, digest=ran.artifact.digest, meta=_small(ran.artifact)))
        return ran.artifact


def _trained_note(meta: Mapping[str, Any]) -> str:
    """What came out of training, in a few words."""
    if not meta["steps"]:
        return "random weights"
    metrics = [
        f"{name} {value:.3f}" for entry in meta["history"][-1:] for name, value in entry.items() if name != "step"
    ]
    return ", ".join([f"{meta['steps']} steps", *metrics])


def _said(meta: Mapping[str, Any]) -> str:
    """The parity of a stage, in a few words."""
    found = [AgreementRow.model_validate(row) for row in meta["parity"].values()]
    if not all(row.finite for row in found):
        return "NaN or infinity where the stage before has numbers"
    worst = min((row.sqnr_db for row in found if row.sqnr_db is not None), default=None)
    return "equal to the stage before" if worst is None else f"SQNR {worst:.1f} dB to the stage before"


def _small(artifact: Artifact) -> dict[str, Any]:
    """What a stage recorded, without what stands elsewhere in `build.json`."""
    return {
        name: value for name, value in artifact.meta.items() if name not in {"layers", "rows", "environment", "history"}
    }
