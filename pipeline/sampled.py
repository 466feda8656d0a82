"""The calibration set of a build: the images that show what a network's tensors hold, for int8 and for fp16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.stages import sample
from visiondeploy.pipeline.stages.sample import CalibrationSet
from visiondeploy.pipeline.store import Step, tool_versions


def calibration_set(ledger: Ledger) -> tuple[CalibrationSet, str]:
    """The set, and the digest of its artifact."""
    plan = ledger.plan
    recipe = plan.recipe
    settings = recipe.calibration.model_dump(mode="json", include={"images", "held_back", "stratify", "seed"})
    inputs = {"calibration": plan.dataset.digest(recipe.data.calibration)}
    step = Step("sample", sample.VERSION, inputs, settings, tool_versions(*sample.TOOLS))

    def make(out: Path) -> Mapping[str, Any]:
        split = plan.dataset.split(recipe.data.calibration)
        return sample.sample(split, plan.task, recipe.calibration, out, ledger.events.progress)

    made = ledger.run("sample", step, "calibration-set", make, _note)
    return CalibrationSet.of(made.meta), made.digest


def _note(meta: Mapping[str, Any]) -> str:
    rarest = min(meta["classes"].items(), key=lambda entry: (entry[1], entry[0]), default=None)
    return f"{len(meta['images'])} images" + (f", the rarest class {rarest[0]} in {rarest[1]}" if rarest else "")
