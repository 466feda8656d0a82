"""What `deploy bench` measures beside a bare loop over the runtime, in the same run.

For each network and runtime two processes take turns in shuffled blocks: a worker of `deploy bench`, and a bare loop of
its own code (`bare_loop.py`). Both time themselves; what is compared are the medians of all their runs, and the
blocks in pairs. Networks have random weights and come from our own export; int8 has ranges of one image.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.experiments.overhead import CASES, Case, exported, quantised
from visiondeploy.benchmarks.latency import LatencyResult, LatencySettings, measure
from visiondeploy.benchmarks.statistics import at_least
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.pipeline.stages.isolated import Worker, write_feeds
from visiondeploy.types import Outcome

LIMIT = 1.02
RUNTIMES = ("pytorch", "onnxruntime", "openvino")


class BareLoop(Worker):
    """A bare loop in the place of a worker."""

    def __init__(self, backend: str, folder: Path, threads: int, feeds: Path) -> None:
        super().__init__(backend, folder, threads, feeds)
        module = "visiondeploy.benchmarks.experiments.bare_loop"
        self.command = [sys.executable, "-P", "-m", module, backend, str(folder), str(threads), str(feeds)]


def compared(case: Case, name: str, threads: int, seconds: float) -> dict[str, LatencyResult]:
    """The bare loop, and what bench has of the same engine."""
    backend = BACKENDS[name]
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as temporary, ExitStack() as stack:
        source, int8, engine = (Path(temporary) / part for part in ("source", "int8", "engine"))
        for folder in (source, int8, engine):
            folder.mkdir()
        feeds = exported(case, threads, source)
        if backend.source == "network":
            source = source / "network"
        elif case.precision == "int8":
            source = quantised(source, feeds, str(backend.scheme), threads, int8)
        backend.compile(source, engine)
        file = write_feeds(feeds, Path(temporary))
        bare = stack.enter_context(BareLoop(name, engine, threads, file))
        bench = stack.enter_context(Worker(name, engine, threads, file))
        for worker in (bare, bench):
            worker.load()
        settings = LatencySettings(seconds=seconds, min_blocks=15, relative_width=0.003)
        return measure({"bare": bare, "bench": bench}, "bare", settings)


def row(case: Case, name: str, found: dict[str, LatencyResult]) -> str:
    """One row of the table."""
    bare, bench = (float(np.median(found[which].raw)) for which in ("bare", "bench"))
    ratio, noise = found["bench"].speedup, found["bare"].noise
    low, high = 1 / ratio.ci95[1], 1 / ratio.ci95[0]
    # Within on both sides: who is faster than the bare loop measures something else.
    within = at_least(ratio.ci95, 1 / LIMIT), at_least((2 - ratio.ci95[1], 2 - ratio.ci95[0]), 2 - LIMIT)
    outcome = Outcome.FAIL if Outcome.FAIL in within else max(within, key=lambda one: one is Outcome.INCONCLUSIVE)
    cells = [str(case), name, f"{bare:.4g}", f"{bench:.4g}", f"{(bench / bare - 1) * 100:+.2f} %"]
    cells += [f"{1 / ratio.value:.4f} ({low:.4f} to {high:.4f})"]
    cells += ["–" if noise is None else f"{noise.value:.4f} ({noise.ci95[0]:.4f} to {noise.ci95[1]:.4f})"]
    cells += [str(ratio.n), outcome.value]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the experiment and write what came out, as Markdown."""
    parser = argparse.ArgumentParser(description="What deploy bench measures beside a bare loop.")
    parser.add_argument("--threads", type=int, default=2, help="of each runtime (default: 2)")
    parser.add_argument("--seconds", type=float, default=60, help="for each row, at most (default: 60)")
    parser.add_argument("-o", "--out", type=Path, default="bench-overhead.md", help="where the table goes")
    arguments = parser.parse_args()
    rows = []
    for case in CASES[:-1]:  # of a network that takes microseconds the session's own checks are what is measured
        for name in RUNTIMES:
            if name == "pytorch" and case.precision != "fp32":
                continue
            rows.append(row(case, name, compared(case, name, arguments.threads, arguments.seconds)))
            print(rows[-1], file=sys.stderr, flush=True)
    here = capture(arguments.threads)
    text = f"""# What `deploy bench` measures beside a bare loop

| network | runtime | bare, ms | bench, ms | medians | bench / bare, blocks (95 %) | bare / bare | blocks | within 2 % |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
{chr(10).join(rows)}

{(__doc__ or "").partition("same run.")[2].strip()}

Made by `python benchmarks/experiments/bench_overhead.py --threads {arguments.threads} --seconds {arguments.seconds:g}`.

Environment: {here.cpu} ({" ".join(here.isa)}), {here.cores_logical} cores, {here.threads} threads, {here.os}, kernel
{here.kernel}, Python {here.python}; {", ".join(f"{tool} {version}" for tool, version in here.versions.items())}.
"""
    write_atomic(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
