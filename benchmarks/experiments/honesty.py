"""How often the gate is wrong: engines that are equal, slower by a known amount, or worse by a known amount.

"equal" compares an engine with itself, two sessions loaded anew for each comparison, under the limit "at most 5 %
slower". "slower" is the same with a busy wait after each run of one side, a tenth of what a run takes, as calibrated
at the start of each comparison; what was realised is recorded. Both are measured as `deploy bench` does, in shuffled
paired blocks (`latency.measure`), a few at a time, and end as soon as the rule that may be asked at any time
(`decisions.decide_ratio`) has decided, or when their time is over. A loss of mIoU is judged on validation sets that are
drawn from a population of images (`honesty_samples.py`), with the paired bootstrap and the check of `deploy gate`.

Each result is appended to a file of JSON lines, and a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visiondeploy.benchmarks.accuracy import quality
from visiondeploy.benchmarks.decisions import decide_ratio
from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.experiments.honesty_samples import Spread, losing, made_up, miou
from visiondeploy.benchmarks.experiments.overhead import Case, exported, quantised
from visiondeploy.benchmarks.latency import LatencySettings, measure
from visiondeploy.benchmarks.verdicts import quality_limit, settle
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.types import Array, Metric, Outcome

SLOWER = 0.05
"""The limit: by how much a candidate may be slower."""
ADDED = 0.10
"""What is really added to the slower one."""
MARGIN = 0.5
"""The limit in points of mIoU."""
IMAGES = 101
POPULATION = 4_000
BLOCKS = 4
"""In a row, before the decision is asked for again; the first time after two such rows."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Question:
    """What is tried, the outcome that is counted, and how often that may or has to come."""

    kind: str
    truth: str
    limit: str
    counted: Outcome
    at_most: float | None = None
    at_least: float | None = None

    def holds(self, rate: float) -> bool:
        """Whether a rate is as was asked for."""
        return (self.at_most is None or rate <= self.at_most) and (self.at_least is None or rate >= self.at_least)

    @property
    def asked(self) -> str:
        """In words."""
        return f"at most {self.at_most:.0%}" if self.at_most is not None else f"at least {self.at_least:.0%}"


_TIME, _LOSS = f"at most {SLOWER:.0%} slower", f"at most {MARGIN:g} points of mIoU less"
QUESTIONS = (
    Question("equal", "no difference", _TIME, Outcome.FAIL, at_most=0.05),
    Question("slower", f"{ADDED:.0%} slower", _TIME, Outcome.FAIL, at_least=0.90),
    Question("loss-1.0", "1 point less", _LOSS, Outcome.FAIL, at_least=0.90),
    Question("loss-0.5", "0.5 points less, the limit itself", _LOSS, Outcome.PASS, at_most=0.05),
    Question("loss-0.1", "0.1 points less", _LOSS, Outcome.FAIL, at_most=0.05),
)


class Results:
    """Results by question, in a file of JSON lines whose first one says with which settings they were made."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.found: dict[str, list[dict[str, Any]]] = {question.kind: [] for question in QUESTIONS}
        if not path.exists():
            path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != settings:
            sys.exit(f"{path} holds results of other settings, {first}: name another file with --results.")
        for line in lines:
            result = json.loads(line)
            self.found[result["kind"]].append(result)

    def add(self, kind: str, result: dict[str, Any], wanted: int) -> None:
        """Keep a result, and say so."""
        result = {"kind": kind, **result}
        self.found[kind].append(result)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(f"{len(self.found[kind])}/{wanted} {json.dumps(result)}", file=sys.stderr, flush=True)


@contextmanager
def engine(case: Case, threads: int) -> Iterator[tuple[Path, dict[str, Array]]]:
    """The folder of an engine in ONNX Runtime, and feeds of one image."""
    backend = BACKENDS["onnxruntime"]
    with tempfile.TemporaryDirectory(prefix="honesty-") as temporary:
        source, int8, compiled = (Path(temporary) / part for part in ("source", "int8", "engine"))
        for folder in (source, int8, compiled):
            folder.mkdir()
        feeds = exported(case, threads, source)
        if case.precision == "int8":
            source = quantised(source, feeds, str(backend.scheme), threads, int8)
        backend.compile(source, compiled)
        yield compiled, feeds


class Slowed:
    """A call that is followed by a busy wait of a share of what a call takes; it keeps what either took."""

    def __init__(self, call: Call, share: float) -> None:
        self.call = call
        self.own: list[int] = []
        self.whole: list[int] = []
        for _ in range(5):
            call()
        self.wait = round(share * statistics.median(self._timed() for _ in range(30)))

    def _timed(self) -> int:
        began = time.perf_counter_ns()
        self.call()
        return time.perf_counter_ns() - began

    def __call__(self) -> object:
        """What the call gives."""
        began = time.perf_counter_ns()
        result = self.call()
        ended = time.perf_counter_ns()
        while time.perf_counter_ns() - ended < self.wait:
            pass
        self.own.append(ended - began)
        self.whole.append(time.perf_counter_ns() - began)
        return result

    @property
    def realised(self) -> float:
        """By what share the runs were slower than without the wait, of medians."""
        return statistics.median(self.whole) / statistics.median(self.own) - 1


def compared(
    folder: Path, feeds: dict[str, Array], added: float, number: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One comparison, until it is decided or its time is over."""
    backend = BACKENDS["onnxruntime"]
    with ExitStack() as stack:
        base, candidate = (stack.enter_context(backend.load(folder, arguments.threads)) for _ in range(2))
        began = time.monotonic()
        slowed = Slowed(partial(candidate.infer, feeds), added) if added else None
        calls: dict[str, Call] = {
            "base": partial(base.infer, feeds),
            "candidate": slowed or partial(candidate.infer, feeds),
        }
        logs: list[float] = []
        while True:
            blocks = BLOCKS if logs else 2 * BLOCKS
            settings = LatencySettings(
                min_blocks=blocks,
                max_blocks=blocks,
                block_seconds=arguments.block_seconds,
                seed=1_000 * number + len(logs),
            )
            found = measure(calls, "base", settings)
            logs += np.log(np.divide(found["base"].blocks, found["candidate"].blocks)).tolist()
            decision = decide_ratio(logs, 1 / (1 + SLOWER))
            seconds = time.monotonic() - began
            if decision.outcome is not Outcome.INCONCLUSIVE or seconds >= arguments.seconds:
                break
    return {
        "outcome": decision.outcome.value,
        "seconds": round(seconds, 2),
        "blocks": len(logs),
        "slower": round(float(np.exp(-np.mean(logs))) - 1, 4),
        "spread": round(float(np.std(logs, ddof=1)), 4),
        "median_ms": round(statistics.median(found["base"].raw), 3),
        **({"realised": round(slowed.realised, 4)} if slowed else {}),
    }


def timed(results: Results, arguments: argparse.Namespace) -> None:
    """The comparisons that are still missing."""
    wanted = {"equal": (arguments.equal, 0.0), "slower": (arguments.slower, ADDED)}
    if all(len(results.found[kind]) >= count for kind, (count, _) in wanted.items()):
        return
    case = Case(arguments.width, 3, arguments.size, arguments.precision)
    with engine(case, arguments.threads) as (folder, feeds):
        for kind, (count, added) in wanted.items():
            for number in range(len(results.found[kind]), count):
                results.add(kind, compared(folder, feeds, added, number, arguments), count)


def population(arguments: argparse.Namespace) -> Array:
    """Confusion matrices (n, C, C) of the baseline."""
    if arguments.samples is None:
        return made_up(POPULATION, seed=0)
    from safetensors.numpy import load_file

    tensors: dict[str, Array] = load_file(arguments.samples)
    names = [arguments.row] if arguments.row else [name for name in tensors if name.endswith("-pytorch")]
    if len(names) != 1 or names[0] not in tensors or tensors[names[0]].ndim != 3:
        sys.exit(f"{arguments.samples}: name a row of confusion matrices (n, C, C) with --row: {', '.join(tensors)}.")
    # A last column, where there is one, counts pixels without a class.
    rows = tensors[names[0]]
    return rows[:, :, : rows.shape[1]].astype(np.int64)


def judged(results: Results, arguments: argparse.Namespace) -> None:
    """The validation sets that are still missing."""
    kinds = [question.kind for question in QUESTIONS if question.kind.startswith("loss-")]
    if all(len(results.found[kind]) >= arguments.losses for kind in kinds):
        return
    baseline = population(arguments)
    metric = Metric("miou", miou, lambda rows: {})
    for kind in kinds:
        engines = losing(baseline, float(kind.removeprefix("loss-")), 1, Spread(arguments.spread, arguments.regained))
        for number in range(len(results.found[kind]), arguments.losses):
            rows, worse = engines.drawn(IMAGES, np.random.default_rng([number, len(kind), int(kind[-1])]))
            found = quality(metric, rows, worse, seed=number)
            (check,) = settle([quality_limit(kind, found, MARGIN)])
            half = 0.0 if found.ci95 is None else (found.ci95[1] - found.ci95[0]) * 50
            loss = {
                "truth": round(engines.loss, 3),
                "found": round(-found.delta * 100, 3),
                "half": round(half, 3),
            }
            results.add(kind, {"outcome": check.status.value, **loss}, arguments.losses)


def row(question: Question, found: list[dict[str, Any]]) -> str:
    """One row of the table."""
    from scipy.stats import binomtest

    counts = {outcome: sum(one["outcome"] == outcome.value for one in found) for outcome in Outcome}
    cells = [question.truth, question.limit, str(len(found)), *(str(counts[outcome]) for outcome in Outcome)]
    if not found:
        return f"| {' | '.join([*cells, '–', question.asked, 'not run'])} |"
    hits = counts[question.counted]
    exact = binomtest(hits, len(found)).proportion_ci(method="exact")
    rate = f"{question.counted.value} {hits / len(found):.1%} ({exact.low:.1%} to {exact.high:.1%})"
    holds = "yes" if question.holds(hits / len(found)) else "**no**"
    return f"| {' | '.join([*cells, rate, question.asked, holds])} |"


def details(results: Results) -> list[str]:
    """What was measured besides the outcomes."""
    said = []
    for kind in ("equal", "slower"):
        found = results.found[kind]
        if not found:
            continue
        line = f"- {kind}:"
        for name, unit in (
            ("seconds", "s"),
            ("blocks", "blocks"),
            ("median_ms", "ms of one run"),
            ("spread", "spread of blocks"),
        ):
            values = sorted(one[name] for one in found)
            line += f" {statistics.median(values):.3g} {unit} ({values[0]:.3g} to {values[-1]:.3g}),"
        said.append(line.rstrip(",") + "; medians, and the smallest and largest.")
        for name in ("realised", "slower"):
            values = sorted(one[name] for one in found if name in one)
            if values:
                what = "slow-down that was added" if name == "realised" else "slow-down that was found"
                said.append(f"- {kind}: {what}: {statistics.median(values):.1%} ({values[0]:.1%} to {values[-1]:.1%}).")
    for question in QUESTIONS:
        found = results.found[question.kind]
        if question.kind.startswith("loss-") and found:
            losses, half = [one["found"] for one in found], statistics.median(one["half"] for one in found)
            spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
            said.append(
                f"- {question.truth}: the population loses {found[0]['truth']:.3f} points, sets of {IMAGES} images "
                f"{statistics.mean(losses):.3f} on average, with a standard deviation of {spread:.3f}; half of an "
                f"interval is {half:.3f}."
            )
    return said


def document(results: Results, command: str, threads: int) -> str:
    """Everything, as Markdown."""
    here = capture(threads)
    outcomes = " | ".join(outcome.value for outcome in Outcome)
    rows = "\n".join(row(question, results.found[question.kind]) for question in QUESTIONS)
    return f"""# How often the gate is wrong

| truth | limit | times | {outcomes} | rate (95 % Clopper–Pearson) | asked for | holds |
| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- |
{rows}

{chr(10).join(details(results))}

{(__doc__ or "").partition(chr(10))[2].strip()}

Made by `{command}`.

Environment: {here.cpu} ({" ".join(here.isa)}), {here.cores_logical} cores, {here.threads} threads, {here.os}, kernel
{here.kernel}, Python {here.python}; {", ".join(f"{tool} {version}" for tool, version in here.versions.items())}.
"""


def main() -> None:
    """Run what is missing, and write what came out, as Markdown."""
    parser = argparse.ArgumentParser(description="How often the gate is wrong.")
    parser.add_argument("--equal", type=int, default=200, help="comparisons of an engine with itself (default: 200)")
    parser.add_argument("--slower", type=int, default=50, help="with one that is slower (default: 50)")
    parser.add_argument("--losses", type=int, default=300, help="validation sets for each loss (default: 300)")
    parser.add_argument("--seconds", type=float, default=60, help="for one comparison, at most (default: 60)")
    parser.add_argument("--block-seconds", type=float, default=0.15, help="of one side in a block (default: 0.15)")
    parser.add_argument("--threads", type=int, default=2, help="of each session (default: 2)")
    parser.add_argument("--width", type=int, default=8, help="of the UNet (default: 8)")
    parser.add_argument("--size", type=int, default=256, help="of its image (default: 256)")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8", help="(default: int8)")
    parser.add_argument("--spread", type=float, default=Spread().images, help="of images in what is flipped")
    parser.add_argument(
        "--regained", type=float, default=Spread().regained, help="pixels put right per pixel put wrong"
    )
    parser.add_argument("--samples", type=Path, help="samples.safetensors of a bench: its images are the population")
    parser.add_argument("--row", help="of the samples, that the loss is put on (default: the one of PyTorch)")
    parser.add_argument("--results", type=Path, default=Path("honesty.jsonl"), help="JSON lines, continued")
    parser.add_argument("-o", "--out", type=Path, default="honesty.md", help="where the table goes")
    arguments = parser.parse_args()
    names = ("seconds", "block_seconds", "threads", "width", "size", "precision", "spread", "regained", "row")
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    settings["samples"] = arguments.samples.name if arguments.samples else None
    results = Results(arguments.results, settings)
    judged(results, arguments)
    timed(results, arguments)
    command = " ".join(["python benchmarks/experiments/honesty.py", *sys.argv[1:]])
    text = document(results, command, arguments.threads)
    write_atomic(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
