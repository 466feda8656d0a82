"""What a session costs beside the barest loop around its runtime.

For each network and runtime two calls are timed in shuffled blocks of one run, as `deploy bench` does: the runtime's
own call with all inputs and outputs bound once (ONNX Runtime: `run_with_iobinding`; OpenVINO: `infer` of a request),
which computes the same feed into the same memory again and again, and `session.infer`, which takes any feeds and gives
results to keep. "Held" is the same where the caller drops a result only when he has the next.
The networks have random weights and come from our own export; int8 has ranges of one image.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visiondeploy.benchmarks.environment import capture, has_vnni
from visiondeploy.benchmarks.latency import LatencyResult, LatencySettings, measure
from visiondeploy.benchmarks.statistics import at_least
from visiondeploy.models.checkpoint import new_network, save_network
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends import onnxruntime_session, openvino_session
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export
from visiondeploy.types import Array, Sample, Session

CLASSES = 21
LIMIT = 1.03

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A network to measure: a UNet of this size, as fp32 or int8."""

    base_width: int
    depth: int
    size: int
    precision: str

    def __str__(self) -> str:
        return f"UNet {self.base_width}, depth {self.depth}, {self.size}×{self.size}, {self.precision}"


CASES = (Case(16, 4, 512, "fp32"), Case(16, 4, 512, "int8"), Case(8, 3, 128, "int8"), Case(2, 1, 8, "fp32"))
"""A usual one in both precisions, a small one, and one where the call itself is what takes time."""


def exported(case: Case, threads: int, folder: Path) -> dict[str, Array]:
    """Write `model.onnx` of a case; return feeds of one image."""
    spec = NetworkSpec(
        architecture="unet",
        options={"base_width": case.base_width, "depth": case.depth},
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        palette=tuple((number, number, number) for number in range(CLASSES)),
        ignore_index=255,
        input=InputSpec(height=case.size, width=case.size),
    )
    network = folder / "network"
    network.mkdir()
    save_network(new_network(spec, seed=0), network)
    image = np.random.default_rng(0).integers(0, 256, (case.size, case.size, 3)).astype(np.uint8)
    feeds = task_of(spec).preprocess([Sample("", image, None)])
    export(network, [feeds], ExportSettings(), threads, folder)
    return feeds


def quantised(source: Path, feeds: dict[str, Array], scheme: str, threads: int, folder: Path) -> Path:
    """Write `model.onnx` with the Q/DQ of a scheme."""
    import onnx

    from visiondeploy.calibration.observe import observe
    from visiondeploy.calibration.observers import min_max
    from visiondeploy.calibration.placement import tensors_to_observe
    from visiondeploy.calibration.qdq import quantise
    from visiondeploy.calibration.schemes import scheme_of

    model, chosen = onnx.load(source / "model.onnx"), scheme_of(scheme)
    statistics = observe(model, tensors_to_observe(model), [feeds], threads)
    ranges = {name: min_max(found, chosen.target) for name, found in statistics.items()}
    bits = chosen.weight_bits or (8 if has_vnni() else 7)
    onnx.save_model(quantise(model, ranges, chosen, bits).model, folder / "model.onnx")
    return folder


def bare_onnxruntime(folder: Path, feeds: dict[str, Array], results: dict[str, Array], threads: int) -> Call:
    """ONNX Runtime with everything bound."""
    session = onnxruntime_session.inference_session(folder / onnxruntime_session.MODEL, threads)
    binding = session.io_binding()
    for name, feed in feeds.items():
        binding.bind_cpu_input(name, feed)
    for name, array in results.items():
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    return partial(session.run_with_iobinding, binding)


def bare_openvino(folder: Path, feeds: dict[str, Array], results: dict[str, Array], threads: int) -> Call:
    """OpenVINO, compiled for the shapes of the feeds, with everything bound."""
    import openvino as ov

    shapes = {name: feed.shape for name, feed in feeds.items()}
    model = openvino_session.compiled(openvino_session.read(folder / openvino_session.MODEL), threads, shapes)
    request = model.create_infer_request()
    for name, array in (feeds | results).items():
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    return partial(request.infer, share_outputs=True)


BARE = {"onnxruntime": bare_onnxruntime, "openvino": bare_openvino}


def held(session: Session, feeds: dict[str, Array]) -> Call:
    """A caller who still looks at the last result while the next is computed."""
    last: dict[str, Any] = {}

    def call() -> None:
        last.update(session.infer(feeds))

    return call


def compared(case: Case, name: str, threads: int, seconds: float) -> dict[str, LatencyResult]:
    """The bare loop and the session of one backend."""
    backend = BACKENDS[name]
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        source, int8, engine = (Path(temporary) / part for part in ("source", "int8", "engine"))
        for folder in (source, int8, engine):
            folder.mkdir()
        feeds = exported(case, threads, source)
        if case.precision == "int8":
            source = quantised(source, feeds, str(backend.scheme), threads, int8)
        backend.compile(source, engine)
        with backend.load(engine, threads) as session:
            results = {name: array.copy() for name, array in session.infer(feeds).items()}
            expected = {name: array.copy() for name, array in results.items()}
            bare = BARE[name](engine, feeds, results, threads)
            for array in results.values():
                array.fill(0)
            bare()
            # A loop that computes something else, or elsewhere, is no measure.
            if not all(np.array_equal(results[each], expected[each]) for each in expected):
                sys.exit(f"{case}, {name}: the bare loop does not compute what the session does.")
            calls: dict[str, Call] = {"bare": bare, "session": partial(session.infer, feeds)}
            calls["held"] = held(session, feeds)
            settings = LatencySettings(seconds=seconds, min_blocks=15, relative_width=0.005)
            return measure(calls, "bare", settings)


def row(case: Case, backend: str, found: dict[str, LatencyResult]) -> str:
    """One row of the table."""
    bare = found["bare"]
    cells = [str(case), backend, f"{np.median(bare.raw):.4g}"]
    for name in ("session", "held"):
        ratio = found[name].speedup
        more = np.median(np.subtract(found[name].blocks, bare.blocks)) * 1000
        cells += [f"{1 / ratio.value:.3f} ({1 / ratio.ci95[1]:.3f} to {1 / ratio.ci95[0]:.3f})", f"{more:+.0f}"]
    cells += [str(bare.speedup.n), at_least(found["session"].speedup.ci95, 1 / LIMIT).value]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the experiment and write what came out, as Markdown."""
    parser = argparse.ArgumentParser(description="What a session costs beside the bare runtime.")
    parser.add_argument("--threads", type=int, default=2, help="of each runtime (default: 2)")
    parser.add_argument("--seconds", type=float, default=120, help="for each row, at most (default: 120)")
    parser.add_argument("-o", "--out", type=Path, default="overhead.md", help="where the table goes")
    arguments = parser.parse_args()
    rows = []
    for case in CASES:
        for backend in BARE:
            rows.append(row(case, backend, compared(case, backend, arguments.threads, arguments.seconds)))
            print(rows[-1], file=sys.stderr, flush=True)
    here = capture(arguments.threads)
    text = f"""# What a session costs beside the bare runtime

| network | runtime | bare, ms | session / bare (95 %) | µs more | held / bare (95 %) | µs more | blocks | within 3 % |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
{chr(10).join(rows)}

{(__doc__ or "").partition("runtime.")[2].strip()}

What remains is a few microseconds of Python: the check of the feeds, binding them (the bare loop was bound once),
and arrays for the results. On a network that takes microseconds itself that is more than 3 %.

Made by `python benchmarks/experiments/overhead.py --threads {arguments.threads} --seconds {arguments.seconds:g}`.

Environment: {here.cpu} ({" ".join(here.isa)}), {here.cores_logical} cores, {here.threads} threads, {here.os}, kernel
{here.kernel}, Python {here.python}; {", ".join(f"{tool} {version}" for tool, version in here.versions.items())}.
"""
    write_atomic(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
