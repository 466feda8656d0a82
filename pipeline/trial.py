"""Engines of networks on the way to a compressed one, which are measured and not kept.

They are of one backend that runs here, in the precision of the build, but calibrated quickly: what they are for is
their time, which does not depend on it, and their place beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.backends.inside import Profilable
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.precise import Precise
from visiondeploy.pipeline.recipe import Recipe
from visiondeploy.pipeline.stages import race, time_layers
from visiondeploy.pipeline.store import Artifact, Step, tool_versions
from visiondeploy.pipeline.walk import Compiled, Walk

QUICK = {"images": 8, "held_back": 1, "observer": "min-max", "equalise": False, "bias_correction": False}
QUICK |= {"adaround": False, "mixed": False, "ranges": None}

BLOCKS = LatencySettings(seconds=15, min_blocks=7, max_blocks=40, block_seconds=0.25, warmup_seconds=3, noise=False)

TIMED_RUNS = 5
"""Runs of each layer for the table of times, in each of its rounds."""
PROFILED_RUNS = 20
"""Runs of an engine for the times of its own layers."""


@dataclass
class Made:
    """A network on the way: after its change, after fine-tuning, and its engine once there is one.

    `costs` has its "parameters" and "macs", and its "layers" as pairs of name and shape in the order of execution.
    """

    name: str
    changed: Artifact
    tuned: Artifact
    costs: Mapping[str, Any]
    change: str = "as it was trained"
    engine: Compiled | None = None


@dataclass(frozen=True)
class Trial:
    """The stages from a network to the time of its engine, for one backend."""

    ledger: Ledger
    backend: Backend

    def engine(self, name: str, network: Artifact) -> Compiled:
        """The engine of a variant, `name` being what its stages are called by. Raises `GateFailed` without parity."""
        ledger = Ledger(self._plan, self.ledger.store, Named(self.ledger.events, name), self.ledger.trained)
        walk = Walk(ledger)
        exported = walk.export(network)
        ready = Precise(ledger).precise(network, exported)
        return walk.compile(network, exported, ready, {})[0]

    def share(self, name: str, dense: Compiled, changed: Compiled) -> Mapping[str, Any]:
        """The time of an engine over that of the uncompressed network's; see `race`."""
        plan = self._plan
        settings: dict[str, Any] = {
            "backend": self.backend.name,
            "latency": BLOCKS.model_dump(mode="json"),
            "threads": plan.recipe.threads,
            "machine": fingerprint(plan.environment),
        }
        inputs = {"dense": dense.artifact.digest, "changed": changed.artifact.digest, "validation": plan.validation}
        step = Step("race", race.VERSION, inputs, settings, tool_versions(*race.TOOLS, *self.backend.packages))

        def make(out: Path) -> Mapping[str, Any]:
            return race.race(
                self.backend,
                dense.artifact.folder,
                changed.artifact.folder,
                plan.samples[0],
                BLOCKS,
                plan.recipe.threads,
                self.ledger.events.progress,
            )

        made = self.ledger.run(f"race {name}", step, "race", make, _share_note)
        return made.meta

    def times(self, shapes: list[dict[str, Any]]) -> list[float]:
        """Milliseconds of layers by their shapes, on the backend; measured once on a machine."""
        from visiondeploy.models.compression.shapes import shape_of

        plan, recipe = self._plan, self._plan.recipe
        scheme = plan.scheme(self.backend) if recipe.precision.quantised else None
        bits = plan.weight_bits(scheme) if scheme else 8
        settings: dict[str, Any] = {
            "shapes": shapes,
            "backend": self.backend.name,
            "precision": recipe.precision,
            "scheme": scheme,
            "weight_bits": bits,
            "runs": TIMED_RUNS * time_layers.ROUNDS,
            "threads": recipe.threads,
            "machine": fingerprint(plan.environment),
        }
        tools = tool_versions(*time_layers.TOOLS, *self.backend.packages)
        step = Step("time_layers", time_layers.VERSION, {}, settings, tools)

        def make(out: Path) -> Mapping[str, Any]:
            found = time_layers.time_layers(
                self.backend,
                [shape_of(shape) for shape in shapes],
                recipe.precision,
                SCHEMES[scheme] if scheme else None,
                bits,
                TIMED_RUNS,
                recipe.threads,
                self.ledger.events.progress,
            )
            return {"milliseconds": found}

        made = self.ledger.run("time layers", step, "times", make, lambda meta: f"{len(meta['milliseconds'])} shapes")
        return list(made.meta["milliseconds"])

    def layer_times(self, engine: Compiled) -> dict[str, float]:
        """Milliseconds of each layer of an engine by its name; empty where the runtime does not tell."""
        if not isinstance(self.backend, Profilable):
            return {}
        found = self.backend.profile(
            engine.artifact.folder, self._plan.recipe.threads, self._plan.samples[0], PROFILED_RUNS
        )
        return {layer.name: layer.milliseconds for layer in found}

    @cached_property
    def _plan(self) -> Plan:
        return Plan(quick(self.ledger.plan.recipe, self.backend))


def quick(recipe: Recipe, backend: Backend) -> Recipe:
    """The recipe of a trial engine."""
    return recipe.model_copy(
        update={
            "backend": backend.name,
            "calibration": recipe.calibration.model_copy(update=QUICK),
            "export": recipe.export.model_copy(update={"io": "float32"}),
            "qat": recipe.qat.model_copy(update={"steps": 0}),
        }
    )


def _share_note(meta: Mapping[str, Any]) -> str:
    return f"{meta['share']:.3f} of the uncompressed network's time ({meta['changed_ms']:.3g} ms)"


@dataclass(frozen=True, slots=True)
class Named:
    """Events of the stages of one variant, which have its name behind theirs."""

    events: Events
    name: str

    def start(self, stage: str) -> None:
        """As the events'."""
        self.events.start(f"{stage}, {self.name}")

    def progress(self, done: int, total: int, note: str) -> None:
        """As the events'."""
        self.events.progress(done, total, note)

    def end(self, stage: str, seconds: float, cached: bool, note: str) -> None:
        """As the events'."""
        self.events.end(f"{stage}, {self.name}", seconds, cached, note)

    def tell(self, message: str) -> None:
        """As the events'."""
        self.events.tell(message)

    def warn(self, message: str) -> None:
        """As the events'."""
        self.events.warn(f"{self.name}: {message}")
