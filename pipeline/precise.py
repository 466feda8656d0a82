"""The exported graph in the precision that was asked for: stored in half, or with the Q/DQ of a scheme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import convert, quantise
from visiondeploy.pipeline.store import Artifact, Step, tool_versions
from visiondeploy.types import Precision


@dataclass
class Precise:
    """The stages between export and compile."""

    ledger: Ledger

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

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

            made = self.ledger.run("convert", step, "onnx", make, parity_note)
            self.ledger.check("parity fp16", made, "onnx", recipe.limits.convert_sqnr_db, pixels=True)
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
                self.ledger.events.progress,
            )

        def note(meta: Mapping[str, Any]) -> str:
            return f"{meta['images']} images, {parity_note(meta)}"

        made = self.ledger.run(f"quantise {scheme}", step, "onnx", make, note)
        self.ledger.check(f"parity int8 {scheme}", made, "onnx", recipe.limits.quantise_sqnr_db, pixels=True)
        return made
