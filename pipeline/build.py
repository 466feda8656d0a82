"""`deploy build`: the order of the stages, in one place.

    train or load ─► export ─► convert (fp16) or quantise (int8) ─► compile, once a backend ─► measure ─► verdict

Each arrow goes through the store: its key is made of the digests of what goes in, the stage's settings and
version and the versions of its tools. With everything in the store no stage runs and no torch is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visiondeploy import __version__
from visiondeploy.benchmarks.environment import capture, fingerprint, has_vnni
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Environment, Report, Row
from visiondeploy.errors import BackendUnavailable, GateFailed, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.models.data.table import open_dataset
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.backends.base import Backend, require
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS, backend_of
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import BuildRecord, Engine, StageRecord, materialise
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.stages import compile as compiling
from visiondeploy.pipeline.stages import convert, export, quantise, train
from visiondeploy.pipeline.stages import measure as measuring
from visiondeploy.pipeline.store import Artifact, Step, Store, sha256_file, tool_versions
from visiondeploy.pipeline.surprises import surprises
from visiondeploy.types import Dataset, Precision, Status

if TYPE_CHECKING:
    from visiondeploy.types import Array, Task

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
    walk = _Walk(recipe, store, events)
    network = walk.network()
    walk.trained = network.meta["steps"] > 0
    folders: dict[str, Artifact] = {"network": network}
    engines: list[_Compiled] = []
    rows: list[Row] = []
    chosen: str | None = None
    if until != "train":
        exported = walk.export(network)
        folders["onnx-fp32"] = exported
    if until in {"compile", "measure"}:
        ready = walk.precise(exported)
        if ready is not exported:
            folders[f"onnx-{recipe.precision}"] = ready
        engines = walk.compile(network, exported, ready)
        folders |= {f"engines/{engine.backend.name}": engine.artifact for engine in engines}
    if until == "measure":
        baseline = walk.baseline(network)
        rows = walk.measure(network, baseline, engines)
        chosen = _fastest(rows, engines)
    record = walk.record(network, engines, chosen, until)
    report = walk.report(rows, record) if rows else None
    folder = out or Path("builds") / walk.name
    materialise(folder, folders, record, report)
    return Built(folder, record, report)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """An engine with the backend that made it and the check of its parity."""

    backend: Backend
    artifact: Artifact
    check: Check


@dataclass
class _Walk:
    """One build under way: what all its stages share, and what they said so far."""

    recipe: Recipe
    store: Store
    events: Events
    trained: bool = True
    checks: list[Check] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)

    @cached_property
    def dataset(self) -> Dataset:
        return open_dataset(self.recipe.data.dataset, self.recipe.data.options)

    @cached_property
    def environment(self) -> Environment:
        return capture(self.recipe.threads)

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        """What the recipe asks for; "auto" is every engine backend that is installed and runs the precision."""
        wanted = self.recipe.backend
        if wanted != "auto":
            backend = backend_of(wanted)
            require(backend, self.recipe.precision)
            return (backend,)
        found = [BACKENDS[name] for name in AUTO]
        usable = tuple(b for b in found if not b.unavailable() and self.recipe.precision in b.precisions)
        if not usable:
            reasons = "; ".join(f"{b.name}: {b.unavailable()}" for b in found)
            raise BackendUnavailable(f"no engine backend can be used here: {reasons}.")
        return usable

    @cached_property
    def spec(self) -> NetworkSpec:
        """What is known of the network before it is there, without torch."""
        recipe = self.recipe
        if recipe.model.checkpoint is not None:
            spec = read_spec(Path(recipe.model.checkpoint))
            wanted = (recipe.input.height or spec.input.height, recipe.input.width or spec.input.width)
            if spec.classes != self.dataset.classes:
                raise UsageError(
                    f"the checkpoint {recipe.model.checkpoint} knows {len(spec.classes)} classes "
                    f"({', '.join(spec.classes[:3])}, …), the data set {self.dataset.name} has "
                    f"{len(self.dataset.classes)} ({', '.join(self.dataset.classes[:3])}, …): name its own data "
                    "set with --dataset."
                )
            size = {"height": wanted[0], "width": wanted[1]}
            return spec.model_copy(update={"input": spec.input.model_copy(update=size)})
        height, width = recipe.input.height, recipe.input.width
        if height is None or width is None:
            first = self.dataset.split(recipe.data.train)[0].image.shape
            height, width = height or first[0], width or first[1]
        return NetworkSpec(
            architecture=recipe.model.name,
            options=recipe.model.options,
            task=recipe.task,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
            ignore_index=self.dataset.ignore_index,
            input=InputSpec(height=height, width=width, mean=recipe.input.mean, std=recipe.input.std),
        )

    @property
    def name(self) -> str:
        """The name of the build's folder."""
        parts = [self.recipe.name, self.dataset.name, str(self.recipe.precision)]
        if self.recipe.backend != "auto":
            parts.append(self.recipe.backend)
        if self.dataset.name == "synthetic":
            parts.remove("synthetic")
        return "-".join(parts)

    @cached_property
    def task(self) -> Task:
        from visiondeploy.models.tasks.table import task_of

        return task_of(self.spec)

    @cached_property
    def samples(self) -> list[Mapping[str, Array]]:
        """The feeds that parity is measured on: the first images of the validation split."""
        split = self.dataset.split(self.recipe.data.val)
        count = min(self.recipe.limits.parity_images, len(split))
        return [self.task.preprocess([split[index].image]) for index in range(count)]

    @cached_property
    def _parity_inputs(self) -> dict[str, str]:
        """What the parity of every stage depends on besides the artifacts."""
        return {"validation": self.dataset.digest(self.recipe.data.val)}

    def network(self) -> Artifact:
        """Train, or take a checkpoint over."""
        recipe, spec, data = self.recipe, self.spec, self.recipe.data
        if recipe.model.checkpoint is not None:
            folder = Path(recipe.model.checkpoint)
            inputs = {name: sha256_file(folder / name) for name in ("network.json", "weights.safetensors")}
            step = Step("load", train.VERSION, inputs, spec, tool_versions("safetensors"))
            return self._run("load", step, "network", lambda out: train.load(folder, spec, out), _trained_note)
        inputs = {"train": self.dataset.digest(data.train), "validation": self.dataset.digest(data.val)}
        settings = {
            "spec": spec.model_dump(mode="json"),
            "train": recipe.train.model_dump(mode="json"),
            "augment": recipe.augment.model_dump(mode="json"),
        }
        step = Step("train", train.VERSION, inputs, settings, tool_versions(*train.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            return train.train(
                spec,
                self.dataset,
                (data.train, data.val),
                recipe.train,
                recipe.augment,
                self.store.work(step.key),
                out,
                self.events.progress,
            )

        return self._run("train", step, "network", make, _trained_note)

    def export(self, network: Artifact) -> Artifact:
        """To ONNX and TorchScript."""
        settings: dict[str, Any] = {
            "export": self.recipe.export.model_dump(mode="json"),
            "parity_images": self.recipe.limits.parity_images,
        }
        inputs = {"network": network.digest, **self._parity_inputs}
        step = Step("export", export.VERSION, inputs, settings, tool_versions(*export.TOOLS))
        threads = self.recipe.threads

        def make(out: Path) -> Mapping[str, Any]:
            return export.export(network.folder, self.samples, self.recipe.export, threads, out)

        made = self._run("export", step, "exported", make, lambda meta: f"{meta['nodes']} nodes, {_said(meta)}")
        for kind in ("onnx", "torchscript"):
            self._check(f"parity export {kind}", made, kind, self.recipe.limits.export_sqnr_db, pixels=False)
        return made

    def precise(self, exported: Artifact) -> Artifact:
        """The ONNX graph in the precision that was asked for."""
        recipe = self.recipe
        if recipe.precision is Precision.FP32:
            return exported
        inputs = {"exported": exported.digest, **self._parity_inputs}
        images = recipe.limits.parity_images
        if recipe.precision is Precision.FP16:
            step = Step("convert", convert.VERSION, inputs, {"parity_images": images}, tool_versions(*convert.TOOLS))

            def make(out: Path) -> Mapping[str, Any]:
                return convert.convert(exported.folder, self.task, self.samples, recipe.threads, out)

            made = self._run("convert", step, "onnx", make, _said)
            self._check("parity fp16", made, "onnx", recipe.limits.convert_sqnr_db, pixels=True)
            return made
        bits = recipe.calibration.weight_bits
        resolved = (8 if has_vnni() else 7) if bits == "auto" else bits
        settings = {
            "calibration": recipe.calibration.model_dump(mode="json"),
            "weight_bits": resolved,
            "parity_images": images,
            "spec": self.spec.input.model_dump(mode="json"),
        }
        inputs |= {"calibration": self.dataset.digest(recipe.data.calibration)}
        step = Step("quantise", quantise.VERSION, inputs, settings, tool_versions(*quantise.TOOLS))

        def make_int8(out: Path) -> Mapping[str, Any]:
            return quantise.quantise(
                exported.folder,
                self.task,
                self.dataset.split(recipe.data.calibration),
                self.samples,
                recipe.calibration,
                resolved,
                recipe.threads,
                out,
                self.events.progress,
            )

        made = self._run("quantise", step, "onnx", make_int8, lambda meta: f"{meta['images']} images, {_said(meta)}")
        self._check("parity int8", made, "onnx", recipe.limits.quantise_sqnr_db, pixels=True)
        return made

    def compile(self, network: Artifact, exported: Artifact, ready: Artifact) -> list[_Compiled]:
        """One engine for each backend. The ones that fail parity are named; none left is an error."""
        sources = {"network": network, "torchscript": exported, "onnx": ready}
        compiled = []
        for backend in self.backends:
            source = sources[backend.source]
            artifact = self._compile(backend, source)
            limit = self.recipe.limits.compile_sqnr_db
            found = AgreementRow.model_validate(artifact.meta["parity"][backend.name])
            check = gate.parity_check(f"parity {backend.name}", found, limit, None)
            compiled.append(_Compiled(backend, artifact, check))
        good = [engine for engine in compiled if engine.check.status == "PASS"]
        if not good:
            said = "; ".join(f"{e.check.name}: {e.check.found}, limit {e.check.limit}" for e in compiled)
            raise GateFailed(
                f"no engine computes what its source does ({said}): the runtime is at fault; try another backend."
            )
        for engine in compiled:
            if engine not in good:
                self.events.warn(f"{engine.backend.name} is left out: {engine.check.name} {engine.check.found}.")
        self.checks += [engine.check for engine in good]
        return good

    def baseline(self, network: Artifact) -> _Compiled:
        """The network itself as an engine: what every row is compared with."""
        backend = BACKENDS[measuring.BASELINE]
        artifact = self._compile(backend, network)
        found = AgreementRow.model_validate(artifact.meta["parity"][backend.name])
        return _Compiled(backend, artifact, gate.parity_check("baseline", found, 0.0, None))

    def _compile(self, backend: Backend, source: Artifact) -> Artifact:
        reference = {"network": "pytorch", "torchscript": "torchscript", "onnx": "onnxruntime"}[backend.source]
        tools = tool_versions(*backend.packages, *BACKENDS[reference].packages)
        settings: dict[str, Any] = {
            "backend": backend.name,
            "threads": self.recipe.threads,
            "parity_images": self.recipe.limits.parity_images,
            "machine": fingerprint(self.environment),
        }
        inputs = {"source": source.digest, **self._parity_inputs}
        step = Step("compile", compiling.VERSION, inputs, settings, tools)

        def make(out: Path) -> Mapping[str, Any]:
            return compiling.compile_engine(
                backend, BACKENDS[reference], source.folder, self.task, self.samples, self.recipe.threads, out
            )

        def note(meta: Mapping[str, Any]) -> str:
            return ", ".join(f"{count} layers {kind}" for kind, count in meta["realised"].items())

        return self._run(f"compile {backend.name}", step, "engine", make, note)

    def measure(self, network: Artifact, baseline: _Compiled, engines: list[_Compiled]) -> list[Row]:
        """Baseline and engines in one run."""
        recipe = self.recipe
        inputs = {
            "baseline": baseline.artifact.digest,
            "validation": self.dataset.digest(recipe.data.val),
            **{engine.backend.name: engine.artifact.digest for engine in engines},
        }
        settings: dict[str, Any] = {
            "bench": recipe.bench.model_dump(mode="json"),
            "name": recipe.name,
            "precision": recipe.precision,
            "threads": recipe.threads,
            "machine": fingerprint(self.environment),
        }
        tools = tool_versions(*measuring.TOOLS, *(p for b in BACKENDS.values() for p in b.packages))
        step = Step("measure", measuring.VERSION, inputs, settings, tools)
        contenders = [self.contender(baseline, network)]
        contenders += [self.contender(e, network) for e in engines if e.backend.name != measuring.BASELINE]

        def make(out: Path) -> Mapping[str, Any]:
            split = self.dataset.split(recipe.data.val)
            rows = measuring.measure(contenders, self.spec, split, recipe.bench, recipe.threads, self.events.progress)
            return {"rows": [row.model_dump(mode="json") for row in rows]}

        made = self._run("measure", step, "measurement", make, lambda meta: f"{len(meta['rows'])} rows")
        return [Row.model_validate(row) for row in made.meta["rows"]]

    def contender(self, engine: _Compiled, network: Artifact) -> measuring.Contender:
        """An engine as the measure stage wants it."""
        recipe, name = self.recipe, engine.backend.name
        precision = Precision.FP32 if name == measuring.BASELINE else recipe.precision
        meta = engine.artifact.meta
        providers: dict[str, int] = {}
        for _, _, _, provider in meta["layers"]:
            providers[provider] = providers.get(provider, 0) + 1
        return measuring.Contender(
            name=f"{recipe.name}-{precision}-{name}",
            model=recipe.name,
            backend=name,
            precision=precision,
            folder=engine.artifact.folder,
            size_bytes=sum(record.size for record in engine.artifact.files.values()),
            parameters=network.meta["parameters"],
            realised=meta["realised"],
            stored=meta["stored"],
            providers=providers,
            surprises=surprises(precision, meta["realised"], meta["stored"]),
        )

    def record(self, network: Artifact, engines: list[_Compiled], chosen: str | None, until: str) -> BuildRecord:
        """What `build.json` says beside the report."""
        return BuildRecord(
            name=self.name,
            visiondeploy=__version__,
            until=until,
            recipe=self.recipe.model_dump(mode="json"),
            spec=self.spec.model_copy(update={"trained_steps": network.meta["steps"]}),
            network=network.digest,
            parameters=network.meta["parameters"],
            validation=self.dataset.digest(self.recipe.data.val),
            engine=chosen,
            engines=tuple(
                Engine(
                    backend=engine.backend.name,
                    precision=self.recipe.precision,
                    folder=f"engines/{engine.backend.name}",
                    layers=engine.artifact.meta["layers"],
                    realised=engine.artifact.meta["realised"],
                    stored=engine.artifact.meta["stored"],
                )
                for engine in engines
            ),
            parity=tuple(self.checks),
            stages=tuple(self.stages),
        )

    def report(self, rows: list[Row], record: BuildRecord) -> Report:
        """The report contract: environment, rows, verdict."""
        notes = () if self.trained else ("the weights are random: the metric says nothing and is not judged",)
        return Report(
            environment=self.environment,
            rows=tuple(rows),
            verdict=gate.verdict(self.checks, rows, self.recipe.limits, self.trained),
            notes=notes,
        )

    def _check(self, name: str, artifact: Artifact, kind: str, sqnr_db: float, *, pixels: bool) -> None:
        found = AgreementRow.model_validate(artifact.meta["parity"][kind])
        # The classes of a network with random weights hang on its noise.
        agreement = self.recipe.limits.agreement if pixels and self.trained else None
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


def _fastest(rows: list[Row], engines: list[_Compiled]) -> str | None:
    """The backend of the fastest row that ran."""
    known = {engine.backend.name for engine in engines}
    ran = [row for row in rows if row.status is Status.OK and row.backend in known and row.speedup]
    return max(ran, key=lambda row: row.speedup.value if row.speedup else 0.0).backend if ran else None


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
    worst = min((row.sqnr_db for row in found if row.sqnr_db is not None), default=None)
    return "equal to the stage before" if worst is None else f"SQNR {worst:.1f} dB to the stage before"


def _small(artifact: Artifact) -> dict[str, Any]:
    """What a stage recorded, without what stands elsewhere in `build.json`."""
    return {name: value for name, value in artifact.meta.items() if name not in {"layers", "rows", "history"}}
