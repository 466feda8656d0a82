"""`MODEL_CARD.md`: what the model is, how good it was found to be, how to run it, and what nobody looked at.

The order is that of Mitchell et al., "Model Cards for Model Reporting", 2019. Whatever the build does not know is said
to be unknown, and stands in the last section.
"""

from __future__ import annotations

from collections.abc import Sequence

from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.markdown import checks, escaped, table
from visiondeploy.models.data.table import DATASETS
from visiondeploy.pipeline.bundle.manifest import Contract, Engine, Target, Tensor, Tolerances
from visiondeploy.pipeline.bundle.provenance import without_paths
from visiondeploy.pipeline.bundle.subject import Subject
from visiondeploy.pipeline.bundle.triton import PLATFORMS
from visiondeploy.types import Outcome, Status

FILE = "MODEL_CARD.md"


def card_of(
    subject: Subject,
    name: str,
    version: int,
    contract: Contract,
    engine: Engine,
    target: Target,
    tolerances: Tolerances,
    images: int,
) -> str:
    """The card as Markdown with a final newline; `images` is the number of golden runs."""
    sections = {
        "Verdict": _verdict(subject),
        "What it is": _what(subject, engine, target),
        "Inputs and outputs": _contract(contract),
        "Data": _data(subject, images),
        "Measured": _measured(subject),
        "How to run it": _run(name, version, contract, engine, target),
        "Golden runs": _golden(tolerances, images),
        "Limits": _limits(subject, target),
        "Licence": [
            "The build does not record under which licence the network and its data may be used: ask who made it.",
            "What visiondeploy itself wrote here (configurations, this card) is under Apache-2.0, as visiondeploy is.",
        ],
        "Not measured": _not_measured(subject),
    }
    lines = [f"# {escaped(name)}, version {version}", ""]
    for title, found in sections.items():
        lines += [f"## {title}", "", *found, ""]
    return "\n".join(lines)


def _verdict(subject: Subject) -> list[str]:
    verdict = subject.report.verdict
    forced = [
        f"**This bundle was made with `--force`**: {escaped(subject.verdict.first)}.",
        "",
    ]
    return [
        *(forced if subject.verdict.forced else []),
        f"**{cells.verdict_line(verdict)}**",
        *(["", *checks(verdict)] if verdict.checks else []),
    ]


def _what(subject: Subject, engine: Engine, target: Target) -> list[str]:
    spec, record = subject.spec, subject.record
    trained = f"trained for {spec.trained_steps} steps" if spec.trained_steps else "with random weights"
    if spec.graph is not None:
        trained = f"an ONNX file of somebody else ({escaped(spec.graph.file)}), taken as it was"
    layers = ", ".join(f"{count} in {kind}" for kind, count in engine.realised.items()) or "unknown"
    where = ", ".join(target.gpus) if target.kind == "gpu" else " ".join((target.machine, *target.isa))
    runtimes = ", ".join(f"{package} {version}" for package, version in sorted(target.runtimes.items()))
    bound = "; it loads in no other release, and on no other GPU" if target.bound else ""
    return [
        f"- Task: {escaped(spec.task)}; network: {escaped(spec.architecture)}, {trained}.",
        f"- Parameters: {record.parameters if subject.engine.parameters is None else subject.engine.parameters:,}.",
        f"- Engine: {engine.backend}, {engine.precision} was asked for; layers compute {layers}.",
        f"- Target: {escaped(where)}; {runtimes}{bound}. Measured with {engine.threads} threads.",
        f"- Made by visiondeploy {record.visiondeploy}; the network has the digest `{record.network}`.",
    ]


def _contract(contract: Contract) -> list[str]:
    lines = ["| | name | type | shape | axes | values | |", "| :--- | :--- | :--- | :--- | :--- | :--- | :--- |"]
    for kind, tensors in (("input", contract.inputs), ("output", contract.outputs)):
        lines += [_port(kind, tensor) for tensor in tensors]
    lines += ["", "−1 is a size that the client chooses."]
    if (how := contract.preprocessing) is not None:
        steps = f"An H×W×3 uint8 {how.colours} image becomes {how.height}×{how.width} ({how.resize})"
        ending = "nothing else: the graph normalises." if how.done else _normalised(how.mean, how.std)
        lines += ["", f"{steps}, {ending}"]
    if contract.classes:
        lines += [
            "",
            f"Classes, from 0: {escaped(', '.join(contract.classes))}; {contract.ignore_index} is none of them.",
        ]
    if contract.styles:
        lines += ["", f"Styles, from 0: {escaped(', '.join(contract.styles))}."]
    return lines


def _port(kind: str, tensor: Tensor) -> str:
    shape = "×".join(map(str, tensor.shape)).replace("-1", "−1") or "one number"
    values = "any" if tensor.low is None or tensor.high is None else f"{tensor.low:.4g} … {tensor.high:.4g}"
    values = values.replace("-", "−")
    cells_of = (kind, escaped(tensor.name), tensor.dtype, shape, tensor.layout or "", values, escaped(tensor.meaning))
    return f"| {' | '.join(cells_of)} |"


def _normalised(mean: Sequence[float], std: Sequence[float]) -> str:
    means, stds = (", ".join(f"{value:g}" for value in values) for values in (mean, std))
    return f"then (pixel / 255 − mean) / std with mean {means} and std {stds}."


def _measured(subject: Subject) -> list[str]:
    return [
        f"This bundle holds `{subject.row.name}`; the others are there for comparison.",
        "",
        *table(subject.report),
        "",
        f"Measured on {escaped(cells.machine(subject.report.environment))}.",
    ]


def _data(subject: Subject, images: int) -> list[str]:
    data = subject.record.recipe["data"]
    place = str(without_paths(data["dataset"]))
    kind = DATASETS.get(place.partition(":")[0])
    summary = f" ({kind.summary})" if kind else ""
    return [
        f"Data set {escaped(place)}{summary}: trained on split {escaped(data['train'])}, calibrated on images of "
        f"{escaped(data['calibration'])}, judged on {escaped(data['val'])} (digest `{subject.record.validation}`).",
        f"`golden/` holds {images} preprocessed images of {escaped(data['val'])}: whoever gets the bundle gets these.",
    ]


def _run(name: str, version: int, contract: Contract, engine: Engine, target: Target) -> list[str]:
    shapes = ", ".join(f"{tensor.name} {list(tensor.shape)} {tensor.dtype}" for tensor in contract.inputs)
    runtimes = " ".join(f"'{package}=={found}'" for package, found in sorted(target.runtimes.items()))
    lines = [
        "Check it first (digests, signature, contract, target, golden runs), then load it:",
        "",
        "```sh",
        "deploy verify BUNDLE",
        f"pip install {runtimes}",
        "```",
        "",
        "```python",
        "from visiondeploy.runtime import load",
        "",
        'with load("BUNDLE") as model:',
        f"    outputs = model.infer(feeds)  # {shapes}",
        "```",
        "",
    ]
    if engine.backend in PLATFORMS:
        lines += [
            f"- Triton: `tritonserver --model-repository=BUNDLE/triton` serves version {version} of `{escaped(name)}` "
            f"with its backend {PLATFORMS[engine.backend].backend}.",
            *(f"- {remark}" for remark in PLATFORMS[engine.backend].remarks),
        ]
    else:
        lines.append(
            f"- Triton has no backend that reads engines of {engine.backend}: there is no `triton/` in this bundle."
        )
    lines += ["- MLServer: `mlserver start BUNDLE/mlserver`."]
    return lines


def _golden(tolerances: Tolerances, images: int) -> list[str]:
    made = "the engine itself" if tolerances.made_by == "engine" else "the ONNX file that it was made from"
    again = (
        "Asked again, it gave the same bits, and so it has to on the same machine and runtime."
        if tolerances.exact
        else "They are no measure bit for bit."
    )
    batches = {
        None: "",
        True: " So do all of them in one batch.",
        False: " In one batch with others an image may give other last bits.",
    }[tolerances.exact_in_batches]
    limits = {
        "SQNR at least {:g} dB": tolerances.sqnr_db,
        "no value further off than {:g}": tolerances.max_abs,
        "{:.2%} of pixels of the same class": tolerances.agreement,
    }
    held = (
        ", ".join(text.format(value) for text, value in limits.items() if value is not None) or "nothing is asked for"
    )
    return [f"Outputs of {made} for {images} images. {again}{batches} On other machines of the target: {held}."]


def _limits(subject: Subject, target: Target) -> list[str]:
    notes = [*cells.surprises(subject.report), *cells.notes(subject.report)]
    known = [f"- {escaped(note)}" for note in notes]
    if target.kind == "cpu":
        known.append("- On a CPU with other instruction sets than the target's it may be slower, and round otherwise.")
    known.append("- What it does on images unlike those of the data set is not known.")
    return known


def _not_measured(subject: Subject) -> list[str]:
    """What a reader may look for in vain, and what the build has no record of."""
    row, report = subject.row, subject.report
    missing = [
        (row.status is not Status.OK, f"The engine itself: {row.reason}"),
        (row.quality is None, "Quality of the engine."),
        (row.quality is not None and row.quality.ci95 is None, "An interval of the difference in quality."),
        (row.latency_ms is None, "Latency."),
        (row.peak_rss_bytes is None, "Peak memory."),
        (row.latency_ms is not None and row.latency_ms.p99 is None, "The 99th percentile of latency."),
        (report.verdict.status is Outcome.INCONCLUSIVE, "Enough for a verdict: see there."),
        (True, "Batches of several images, several clients at once, and other numbers of threads."),
        (True, "Fairness, robustness to noise or attack, and energy."),
    ]
    return [f"- {escaped(text)}" for true, text in missing if true]
