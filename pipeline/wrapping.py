"""Graphs that take raw images, where the recipe asks for them: a stage between those of a precision and compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.pipeline.backends.base import Source
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import wrap
from visiondeploy.pipeline.store import Artifact, Step, tool_versions


@dataclass
class Wrapping:
    """Wraps what the backends of a build compile."""

    ledger: Ledger

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

    def wrapped(self, network: Artifact, exported: Artifact, ready: Mapping[str, Artifact]) -> dict[str, Artifact]:
        """What each backend compiles, the baseline too, by its name; nothing where the engines are bare networks."""
        if not self.plan.serves:
            return {}
        found: dict[str, Artifact] = {}
        made: dict[tuple[str, str], Artifact] = {}
        for backend in dict.fromkeys((*self.plan.backends, self.plan.baseline)):
            kind = backend.source
            sources = {"network": network, "torchscript": exported, "onnx": ready.get(backend.name)}
            source = sources[kind]
            if source is None:
                raise RuntimeError(f"no graph was made for backend {backend.name}")
            if (kind, source.digest) not in made:
                made[kind, source.digest] = self._wrap(source, kind, self._place(backend.name))
            found[backend.name] = made[kind, source.digest]
        return found

    def places(self, wrapped: Mapping[str, Artifact]) -> dict[str, Artifact]:
        """Where in a build's folder they lie. A network is among the engines: it is its own."""
        return {self._place(name): found for name, found in wrapped.items() if BACKENDS[name].source != "network"}

    def _place(self, backend: str) -> str:
        plan, io = self.plan, self.plan.served.io
        kind = BACKENDS[backend].source
        if kind != "onnx":
            return f"{kind}-{io}"
        precision = plan.recipe.precision
        scheme = f"-{plan.scheme(BACKENDS[backend])}" if precision.quantised else ""
        return f"onnx-{precision}{scheme}-{io}"

    def _wrap(self, source: Artifact, kind: Source, place: str) -> Artifact:
        plan = self.plan
        settings: dict[str, Any] = {
            "kind": kind,
            "spec": plan.served.model_dump(mode="json", include={"task", "classes", "input", "io"}),
            "parity_images": plan.recipe.limits.parity_images,
        }
        inputs = {"source": source.digest, "validation": plan.validation}
        step = Step("wrap", wrap.VERSION, inputs, settings, tool_versions(*wrap.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            return wrap.wrap(
                source.folder, kind, plan.served, plan.samples, plan.served_samples, plan.recipe.threads, out
            )

        made = self.ledger.run(f"wrap {place.removesuffix('-' + plan.served.io)}", step, kind, make, parity_note)
        self.ledger.check_served(f"parity {place}", made, kind)
        return made
