"""The exported graph in the precision that was asked for: stored in half, or with the Q/DQ of a scheme."""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.pipeline.half import half
from visiondeploy.pipeline.int8 import Int8
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.store import Artifact
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
        if recipe.precision is self.plan.own:
            return dict.fromkeys(names, exported)
        if recipe.precision is Precision.FP16:
            return dict.fromkeys(names, half(self.ledger, exported))
        files = Int8(self.ledger, network, exported).by_scheme()
        return {backend.name: files[self.plan.scheme(backend)] for backend in self.plan.backends}
