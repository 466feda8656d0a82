"""What the stages of one build have in common: each runs through the store, and what it found is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Row
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.folder import StageRecord
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import row_name
from visiondeploy.pipeline.store import Artifact, Step, Store
from visiondeploy.types import Status

Make = Callable[[Path], Mapping[str, Any]]
"""Writes a stage's files into a folder and returns what it found."""


@dataclass
class Ledger:
    """One build under way: its plan, the store, and what the stages found so far."""

    plan: Plan
    store: Store
    events: Events
    trained: bool = True
    checks: list[Check] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, stage: str, step: Step, kind: str, make: Make, note: Callable[[Mapping[str, Any]], str]) -> Artifact:
        """What a step makes, from the store where it is there; `note` says in a few words what it found."""
        self.events.start(stage)
        ran = self.store.run(step, kind, make)
        self.events.end(stage, ran.seconds, ran.cached, note(ran.artifact.meta))
        self.stages.append(StageRecord(name=stage, key=step.key, digest=ran.artifact.digest, meta=_small(ran.artifact)))
        return ran.artifact

    def training_work(self, step: Step) -> Path:
        """Where a training keeps what it can go on from; says how to watch it."""
        work = self.store.work(step.key)
        self.events.tell(f"to watch: tensorboard --logdir {work / 'tensorboard'}")
        return work

    def check(self, name: str, artifact: Artifact, kind: str, sqnr_db: float, *, pixels: bool) -> None:
        """Hold the parity that a stage found against a limit."""
        found = AgreementRow.model_validate(artifact.meta["parity"][kind])
        # The classes of a network with random weights hang on its noise.
        agreement = self.plan.recipe.limits.agreement if pixels and self.trained else None
        self.checks.append(gate.parity_check(name, found, sqnr_db, agreement))

    def check_served(self, name: str, artifact: Artifact, kind: str) -> None:
        """As `check`, of what the same runtime gives for raw images: with random weights too it has to agree."""
        found = AgreementRow.model_validate(artifact.meta["parity"][kind])
        self.checks.append(gate.served_check(name, found, self.plan.recipe.limits))

    def leave_out(self, backend: str, status: Status, reason: str) -> None:
        """A row of the report for what "auto" would have built, so that nobody takes it for measured or forgotten."""
        recipe = self.plan.recipe
        self.events.warn(f"{backend}: {reason}")
        self.left_out.append(
            Row(
                name=row_name(recipe.name, recipe.compress.label, recipe.precision, backend),
                model=recipe.name,
                backend=backend,
                precision=recipe.precision,
                status=status,
                reason=reason,
            )
        )


def parity_note(meta: Mapping[str, Any]) -> str:
    """The parity of a stage, in a few words."""
    found = [AgreementRow.model_validate(row) for row in meta["parity"].values()]
    if not all(row.finite for row in found):
        return "NaN or infinity where the stage before has numbers"
    classes = [row.pixels for row in found if row.outputs == "classes" and row.pixels is not None and not row.exact]
    if classes:
        return f"{min(classes):.3%} of pixels as in the stage before"
    worst = min((row.sqnr_db for row in found if row.sqnr_db is not None), default=None)
    return "equal to the stage before" if worst is None else f"SQNR {worst:.1f} dB to the stage before"


def _small(artifact: Artifact) -> dict[str, Any]:
    """What a stage recorded, without what stands elsewhere in `build.json`."""
    elsewhere = {"layers", "rows", "environment", "noise", "history", "shapes"}
    return {name: value for name, value in artifact.meta.items() if name not in elsewhere}
