"""int8 as we make it beside what ONNX Runtime and NNCF make of the same network, in one table for each.

Ours is `deploy build --precision int8`. The peers (`peers_methods.py` has what each is) quantise the fp32 ONNX file of
that build on the same calibration images, and are compiled, loaded and measured by the same backends on as many
threads. All engines of a network are measured in one run against PyTorch eager fp32: latency in shuffled blocks, and
outputs, by SQNR and by the share of pixels whose class agrees, on images of the validation split. The metric is judged
where the network was trained (`--checkpoint`), on the whole split.

Networks that were not trained have random weights, and batch norms with the statistics of calibration images: with
zero and one, as they are born, what a MobileNetV3 computes fades to nothing on its way and its logits are the last
bias.

What is quantised is kept under a key of all that decides it, so that a run that was killed goes on from there. What
is measured is not kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.experiments.peers_methods import Nncf, Peer, peers, random_network
from visiondeploy.benchmarks.experiments.peers_table import OURS, document, level, row_name
from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.benchmarks.report.schema import BASELINE_BACKEND, Report, Row, Verdict
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.calibration.sets import pool
from visiondeploy.errors import VisionDeployError
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.build import Built, build
from visiondeploy.pipeline.cli.display import Display
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import Recipe, resolve
from visiondeploy.pipeline.stages.measure import Contender, measure
from visiondeploy.pipeline.stages.sample import CalibrationSet, Feeds
from visiondeploy.pipeline.store import Artifact, Json, Step, Store, tool_versions, write_atomic
from visiondeploy.types import Array, Precision, Realised, Status

# 1: quantised models under the settings of their peers
VERSION = 1
SCHEMA = "visiondeploy.peers/1"
NETWORKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unet": ("unet", ("model.options.base_width={width}",)),
    "unet-separable": ("unet", ("model.options.base_width={width}", "model.options.separable=true")),
    "deeplabv3-mobilenet": ("deeplabv3-mobilenet", ()),
    "deeplabv3-resnet50": ("deeplabv3-resnet50", ()),
}
"""The packaged recipe of each network, and what is set in it."""


@dataclass(frozen=True)
class Subject:
    """A network that is to be quantised, and the recipe of its build, which takes it from a checkpoint."""

    name: str
    recipe: Recipe

    @cached_property
    def plan(self) -> Plan:
        """Its data set, task and description."""
        return Plan(self.recipe)

    def feeds(self, indices: Sequence[int]) -> Sequence[Mapping[str, Array]]:
        """Images of the calibration split as feeds."""
        return Feeds(self.plan.task, self.plan.dataset.split(self.recipe.data.calibration), indices)

    @property
    def trained(self) -> bool:
        """Whether its metric means anything."""
        return self.plan.spec.trained_steps > 0

    @property
    def title(self) -> str:
        """What stands above its table."""
        spec, data = self.plan.spec, self.recipe.data.dataset.partition(":")[0]
        options = "".join(f", {name} {value}" for name, value in spec.options.items())
        weights = f"{spec.trained_steps} steps of training" if self.trained else "random weights"
        size = f"{spec.input.height}×{spec.input.width}"
        source = self.plan.dataset.name if data == "folder" else data
        images = f"{self.recipe.calibration.images} calibration images of {source}"
        return f"{self.name}: {spec.architecture}{options}, {size}, {weights}, {images}"


def subject(name: str, options: argparse.Namespace, store: Store) -> Subject:
    """The network of that name; one with random weights is made now, unless the store has it."""
    height, width = options.size
    overrides = [f"calibration.images={options.images}", "limits.parity_images=2", *options.settings]
    given: dict[str, object] = {"data.dataset": options.dataset, "precision": "int8", "threads": options.threads}
    if options.dataset == "synthetic":
        overrides += [f"data.options.size=[{height}, {width}]", f"data.options.val={options.validation}"]
        overrides.append(f"data.options.train={2 * options.images}")
    if name in options.checkpoints:
        # The checkpoint says itself which network it is of; the recipe lends its calibration and its limits.
        given["model.checkpoint"] = options.checkpoints[name]
        return Subject(name, resolve("unet", None, overrides, given))
    recipe, changes = NETWORKS[name]
    # The outputs of random weights hang on every rounding: two runtimes may be right and 20 dB apart.
    overrides.append("limits.compile_sqnr_db=0")
    given |= {"input.height": height, "input.width": width}
    described = [change.format(width=options.base_width) for change in changes]
    random = Subject(name, resolve(recipe, None, [*overrides, *described], given))
    step = Step(
        "random network",
        VERSION,
        {"calibration": random.plan.dataset.digest(random.recipe.data.calibration)},
        {"spec": random.plan.spec.model_dump(mode="json"), "images": options.images},
        tool_versions("torch", "torchvision", "pillow"),
    )
    seen = pool(len(random.plan.dataset.split(random.recipe.data.calibration)), 0)[: options.images]
    feeds = list(random.feeds(seen))
    made = store.run(step, "network", lambda folder: random_network(random.plan.spec, feeds, folder))
    return Subject(name, resolve(recipe, None, overrides, {**given, "model.checkpoint": made.artifact.folder}))


class Comparison:
    """The engines of one network, ours and the peers', and their measurement. A context manager.

    What cannot be made or loaded is a row that says why.
    """

    def __init__(self, subject: Subject, built: Built, store: Store, display: Display) -> None:
        self.subject, self.built, self.store, self.display = subject, built, store, display
        self.threads = subject.recipe.threads
        self.temporary = ExitStack()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *exc: object) -> None:
        self.temporary.close()

    def rows(self, nncf: Nncf, settings: BenchSettings) -> list[Row]:
        """PyTorch's row, then those of each backend: ours and the peers'."""
        entries: list[Contender | Row] = [self._baseline(), *self._ours()]
        for peer in peers(nncf):
            entries += self._of(peer)
        self.display.start("measure")
        began = time.monotonic()
        contenders = [entry for entry in entries if isinstance(entry, Contender)]
        split = self.subject.plan.dataset.split(self.subject.recipe.data.val)
        found = measure(contenders, self.subject.plan.spec, split, settings, self.threads, self.display.progress).rows
        self.display.end("measure", time.monotonic() - began, False, f"{len(found)} rows")
        measured = {row.name: row for row in found}
        rows = [measured[entry.name] if isinstance(entry, Contender) else entry for entry in entries]
        if not self.subject.trained:
            rows = [row.model_copy(update={"quality": None}) for row in rows]
        return sorted(rows, key=lambda row: (row.backend != BASELINE_BACKEND, row.backend))

    def _baseline(self) -> Contender:
        folder = self.built.folder / "network"
        realised = BACKENDS[BASELINE_BACKEND].realised(folder, self.threads, {})
        return self._contender(BASELINE_BACKEND, BASELINE_BACKEND, Precision.FP32, folder, realised)

    def _ours(self) -> Iterator[Contender | Row]:
        for engine in self.built.record.engines:
            realised = Realised(engine.layers, engine.stored)
            folder = self.built.folder / engine.folder
            yield self._contender(row_name(OURS, engine.backend), engine.backend, engine.precision, folder, realised)
        for row in self.built.record.left_out:
            yield row.model_copy(update={"name": row_name(OURS, row.backend)})

    def _of(self, peer: Peer) -> Iterator[Contender | Row]:
        """The engines of what a peer makes, one for each of its backends."""
        self.display.start(peer.name)
        began = time.monotonic()
        try:
            cached, made = self._made(peer)
        except Exception as error:  # a peer raises what it likes, and that is its row
            self.display.warn(f"{peer.name}: {reason(error)}")
            yield from (self._failed(peer, backend, error) for backend in peer.backends)
            return
        self.display.end(peer.name, time.monotonic() - began, cached, ", ".join(peer.backends))
        for backend in peer.backends:
            try:
                yield self._engine(peer, backend, made)
            except Exception as error:  # as above
                self.display.warn(f"{peer.name} in {backend}: {reason(error)}")
                yield self._failed(peer, backend, error)

    @cached_property
    def _images(self) -> tuple[int, ...]:
        """The images that ours was calibrated with."""
        (meta,) = (stage.meta for stage in self.built.record.stages if stage.name == "sample")
        return CalibrationSet.of(meta).images

    def _made(self, peer: Peer) -> tuple[bool, Artifact]:
        """What a peer makes of the fp32 file, and whether the store had it. Raises what the peer does."""
        recipe = self.subject.recipe
        inputs = {
            "model": self.built.record.files["onnx-fp32/model.onnx"],
            "calibration": self.subject.plan.dataset.digest(recipe.data.calibration),
        }
        settings: dict[str, Json] = {
            "backends": list(peer.backends),
            "arguments": dict(peer.arguments),
            "images": list(self._images),
            "input": self.subject.plan.spec.input.model_dump(mode="json"),
        }
        step = Step(peer.name, VERSION, inputs, settings, {**peer.tools(), **tool_versions("pillow")})

        def make(folder: Path) -> dict[str, str]:
            peer.make(self.built.folder / "onnx-fp32", list(self.subject.feeds(self._images)), folder)
            return {"made by": peer.name}

        ran = self.store.run(step, "quantised", make)
        return ran.cached, ran.artifact

    def _engine(self, peer: Peer, name: str, made: Artifact) -> Contender:
        """The engine that a backend makes of it, tried out. Raises what the backend or its runtime does."""
        backend, folder = BACKENDS[name], made.folder
        if not peer.is_engine:
            folder = Path(self.temporary.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
            backend.compile(made.folder, folder)
        feeds = self.subject.plan.samples[0]
        realised = backend.realised(folder, self.threads, feeds)
        with backend.load(folder, self.threads) as session:
            session.infer(feeds)
        return self._contender(row_name(peer.name, name), name, Precision.INT8, folder, realised)

    def _contender(self, name: str, backend: str, precision: Precision, folder: Path, realised: Realised) -> Contender:
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        parameters = self.built.record.parameters
        return Contender(name, self.subject.name, backend, precision, folder, size, parameters, realised)

    def _failed(self, peer: Peer, backend: str, error: Exception) -> Row:
        return Row(
            name=row_name(peer.name, backend),
            model=self.subject.name,
            backend=backend,
            precision=Precision.INT8,
            status=Status.FAILED,
            reason=reason(error),
        )


def reason(error: Exception) -> str:
    """The line of an error that says most: the last on stderr, of a process that failed."""
    if isinstance(error, subprocess.CalledProcessError) and error.stderr.strip():
        return str(error.stderr.strip().splitlines()[-1])
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]


def compare(name: str, options: argparse.Namespace, display: Display) -> tuple[str, Report]:
    """The title and the report of one network."""
    store = Store(options.folder / "store", on_warning=display.warn, on_wait=display.warn)
    nncf = Nncf(options.folder / "environments")
    found = subject(name, options, store)
    display.tell(found.title)
    built = build(found.recipe, store, options.folder / "builds" / name, display, until="compile")
    latency = LatencySettings(seconds=options.seconds)
    settings = BenchSettings(images=None if found.trained else options.validation, latency=latency)
    with Comparison(found, built, store, display) as comparison:
        rows = comparison.rows(nncf, settings)
    here = capture(options.threads)
    here = here.model_copy(update={"versions": here.versions | nncf.known_versions()})
    return found.title, Report(environment=here, rows=tuple(rows), verdict=Verdict.of(level(rows)))


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description="int8 beside its peers: ONNX Runtime's quantisation and NNCF's.")
    add = parser.add_argument
    add("--network", dest="networks", action="append", help=f"of {', '.join(NETWORKS)}, checkpoints (default: all)")
    add("--dataset", default="synthetic", help='"synthetic" (the default) or "folder:PATH"')
    add(
        "--checkpoint",
        dest="checkpoints",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a network that was trained on the data set, at its own size",
    )
    add("--size", default="512x512", help="of the networks with random weights (default: 512x512)")
    add("--base-width", type=int, default=64, help="of the UNets with random weights (default: 64)")
    add("--images", type=int, default=64, help="to calibrate with (default: 64)")
    add("--validation", type=int, default=16, help="images to compare outputs on (default: 16)")
    add("--threads", type=int, default=2, help="of every runtime (default: 2)")
    add("--seconds", type=float, default=120, help="of timing for each network (default: 120)")
    add("--set", dest="settings", action="append", default=[], metavar="A.B=C", help="a field of our own recipe")
    add("--folder", type=Path, default=Path("peers"), help="where what is made is kept (default: peers)")
    add("-o", "--out", type=Path, help="where the tables go, and with .json what is behind them")
    found = parser.parse_args()
    try:
        found.size = tuple(map(int, found.size.split("x", 1)))
        found.size[1]
    except (ValueError, IndexError):
        parser.error(f"--size {found.size} is not HEIGHTxWIDTH")
    found.checkpoints = {name: Path(folder) for name, _, folder in (c.partition("=") for c in found.checkpoints)}
    known = (*NETWORKS, *found.checkpoints)
    found.networks = found.networks or known
    for name in found.networks:
        if name not in known:
            parser.error(f"--network {name} is none of {', '.join(known)}")
    return found


def main() -> None:
    """Compare network after network; the files are written anew after each."""
    options, reports = arguments(), {}
    made_by = f"python {shlex.join(['benchmarks/experiments/peers.py', *sys.argv[1:]])}"
    text = ""
    for name in options.networks:
        try:
            with Display() as display:
                title, report = compare(name, options, display)
        except VisionDeployError as error:
            sys.exit(f"{name}: {error}")
        reports[title] = report
        text = document(reports, (__doc__ or "").partition("\n\n")[2].strip(), made_by)
        if options.out:
            found = {title: json.loads(report.to_json()) for title, report in reports.items()}
            write_atomic(options.out, text)
            write_atomic(options.out.with_suffix(".json"), json.dumps({"schema": SCHEMA, "networks": found}) + "\n")
    print(text)


if __name__ == "__main__":
    main()
