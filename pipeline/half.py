"""The stages of fp16: which images show how large values become, and the graph in half precision.

sample ─► convert
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.sampled import calibration_set
from visiondeploy.pipeline.stages import convert
from visiondeploy.pipeline.stages.sample import Feeds
from visiondeploy.pipeline.store import Artifact, Step, tool_versions

NAMED = 10
"""Layers that a note names; `build.json` has all."""


def half(ledger: Ledger, exported: Artifact) -> Artifact:
    """A network's exported graph in fp16, checked against it; what fp16 cannot hold stays in fp32 and is named."""
    plan = ledger.plan
    recipe = plan.recipe
    chosen, digest = calibration_set(ledger)
    inputs = {"exported": exported.digest, "validation": plan.validation, "set": digest}
    settings: dict[str, Any] = {
        "parity_images": recipe.limits.parity_images,
        "input": plan.spec.input.model_dump(mode="json"),
    }
    step = Step("convert", convert.VERSION, inputs, settings, tool_versions(*convert.TOOLS))

    def make(out: Path) -> Mapping[str, Any]:
        images = Feeds(plan.task, plan.dataset.split(recipe.data.calibration), chosen.images, report)
        return convert.convert(exported.folder, plan.task, images, plan.samples, recipe.threads, out)

    def report(done: int, total: int) -> None:
        ledger.events.progress(done, total, "images: how large values become")

    made = ledger.run("convert", step, "onnx", make, parity_note)
    ledger.check("parity fp16", made, "onnx", recipe.limits.convert_sqnr_db, pixels=True)
    if beyond := made.meta["beyond_fp16"]:
        said = _said(beyond, made.meta["images"])
        ledger.events.warn(said)
        ledger.notes.append(said)
    return made


def _said(beyond: Mapping[str, float], images: int) -> str:
    """Which layers stay in fp32 and why, the largest first."""
    largest = sorted(beyond.items(), key=lambda entry: -entry[1])
    names = ", ".join(f"{name} ({value:,.0f})" for name, value in largest[:NAMED])
    more = f" and {len(beyond) - NAMED} more" if len(beyond) > NAMED else ""
    return (
        f"fp16: {len(beyond)} layers stay in fp32, since on {images} calibration images they read or make values "
        f"beyond ±{convert.LARGEST:,.0f}, which is where fp16 ends: {names}{more}"
    )
