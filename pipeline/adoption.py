"""The stages of a network that is an ONNX file of somebody else: taken as it is, and prepared for other precisions.

adopt ─► [prepare], where another precision is made of it
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.report.cells import count
from visiondeploy.benchmarks.report.schema import Check
from visiondeploy.errors import UsageError
from visiondeploy.models.spec import ONNX, GraphSpec, InputSpec
from visiondeploy.models.tasks.table import graph_form
from visiondeploy.pipeline.backends.onnx_given import read_given
from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.plan import Plan, Until
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.stages import adopt as adopting
from visiondeploy.pipeline.stages import prepare as preparing
from visiondeploy.pipeline.store import Artifact, Step, tool_versions
from visiondeploy.types import Outcome, Precision

_INSTEAD: dict[Until, str] = {
    "train": "there are no weights to train",
    "compress": "there are no weights to train, without which nothing is compressed",
    "export": "it is ONNX already",
}


def adopt(ledger: Ledger, until: Until) -> Artifact:
    """The recipe's file as an artifact; the ledger's plan then knows the graph, and has its size and precision.

    Raises `UsageError` for what cannot be done with such a file, `InputError` for one that cannot be used.
    """
    recipe = ledger.plan.recipe
    path = Path(recipe.model.onnx or "")
    _check(recipe, path, until)
    data = read_given(path)
    sha256 = hashlib.sha256(data).hexdigest()
    sample = ledger.plan.dataset.split(recipe.data.val)[0]
    normalised = InputSpec(mean=recipe.input.mean, std=recipe.input.std)
    settings: dict[str, Any] = {
        "name": path.name,
        "task": recipe.task,
        "model": recipe.model.model_dump(mode="json", include={"feeds", "black_white"}),
        "input": recipe.input.model_dump(mode="json"),
        "sample": hashlib.sha256(repr(sample.image.shape).encode() + sample.image.tobytes()).hexdigest(),
    }
    step = Step("adopt", adopting.VERSION, {"file": sha256}, settings, tool_versions(*adopting.TOOLS))

    def make(out: Path) -> Mapping[str, Any]:
        wanted = recipe.input.height, recipe.input.width
        return adopting.adopt(
            data, path.name, sha256, recipe.task, recipe.model, wanted, normalised, sample, recipe.threads, out
        )

    made = ledger.run("adopt", step, "onnx", make, _note)
    graph = GraphSpec.model_validate(made.meta["graph"])
    if not made.meta["sees"]:
        blind = _blind(graph)
        ledger.events.warn(f"{blind.name}: {blind.found}")
        ledger.checks.append(blind)
    size = {"height": made.meta["height"], "width": made.meta["width"]}
    update = {"precision": _precision(recipe, graph, until), "input": recipe.input.model_copy(update=size)}
    ledger.plan = Plan(recipe.model_copy(update=update), graph)
    return made


def _check(recipe: Recipe, path: Path, until: Until) -> None:
    """Raise `UsageError` for what is of networks that are trained here."""
    model = recipe.model
    if model.name != ONNX or model.checkpoint or model.start or model.options:
        raise UsageError(
            f"model.onnx is a network of its own ({path.name}), and model.name, options, checkpoint or start name "
            "another: leave one of the two away."
        )
    if until in _INSTEAD:
        raise UsageError(f"{path.name} is taken as it is, and {_INSTEAD[until]}: use deploy build.")
    if recipe.qat.steps or recipe.compress.steps:
        asked = "qat.steps" if recipe.qat.steps else "compress"
        raise UsageError(f"{asked} trains, and {path.name} has no weights to train: leave it away.")
    if recipe.export.io != "float32":
        raise UsageError(
            f"export.io = {recipe.export.io} is put around networks of ours, and {path.name} is taken as it is: leave "
            "it away."
        )
    graph_form(recipe.task)


def _precision(recipe: Recipe, graph: GraphSpec, until: Until) -> Precision:
    """What engines are to have. A file that is in another precision than fp32 keeps its own, fp32 being the default."""
    own, wanted = graph.precision, recipe.precision
    if own is Precision.FP32:
        return wanted
    if until == "quantise":
        raise UsageError(f"{graph.file} is {own} already: there is nothing to calibrate; use deploy build.")
    if wanted not in {own, Precision.FP32}:
        raise UsageError(f"{graph.file} is {own} already, and cannot become {wanted}: leave --precision away.")
    return own


def prepared(ledger: Ledger, given: Artifact) -> Artifact:
    """The graph that other precisions are made of, checked against the file; the file itself where none is."""
    plan = ledger.plan
    if plan.graph is None or plan.recipe.precision is plan.own:
        return given
    name = plan.graph.file
    inputs = {"file": given.digest, "validation": plan.validation}
    settings: dict[str, Any] = {"parity_images": plan.recipe.limits.parity_images}
    step = Step("prepare", preparing.VERSION, inputs, settings, tool_versions(*preparing.TOOLS))

    def make(out: Path) -> Mapping[str, Any]:
        return preparing.prepare(given.folder, name, plan.task, plan.samples, plan.recipe.threads, out)

    made = ledger.run("prepare", step, "onnx", make, lambda meta: f"{meta['nodes']} nodes, {parity_note(meta)}")
    ledger.check("parity prepare", made, "onnx", plan.recipe.limits.export_sqnr_db, pixels=False)
    return made


def _blind(graph: GraphSpec) -> Check:
    """Of a file whose outputs are the same for all images nothing that is measured shows anything."""
    fed = ", ".join(constant.name for constant in graph.constants) or "it"
    return Check(
        name=f"{graph.file} sees the image",
        limit="other outputs for another image",
        found=f"the same outputs: set model.feeds, for what {fed} is fed shows nothing",
        status=Outcome.INCONCLUSIVE,
    )


def _note(meta: Mapping[str, Any]) -> str:
    graph = meta["graph"]
    return (
        f"{graph['file']} as it is: {graph['precision']}, opset {meta['opset']}, {meta['nodes']} nodes, "
        f"{count(meta['parameters'])} parameters"
    )
