"""The exported graph in the precision that was asked for: stored in half, or with the Q/DQ of a scheme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.int8 import Int8
from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import convert
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

    def precise(self, network: Artifact, exported: Artifact) -> dict[str, Artifact]:
        """The ONNX graph of `network` in the precision that was asked for: for each backend by its name."""
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
        files = Int8(self.ledger, network, exported).by_scheme()
        return {backend.name: files[self.plan.scheme(backend)] for backend in self.plan.backends}
