"""The steps that make a network smaller: what each may cost, its change, and the fine-tuning after it.

    size up ─► [time layers] ─► compress ─► [race] ─► finetune ─► compress ─► …
    dense      on the backend   one step    on time   with the
                                            budgets   dense one as teacher

Each is a stage in the store, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from visiondeploy.errors import EnvironmentMismatch, GateFailed
from visiondeploy.models.compression.budget import Budget
from visiondeploy.models.compression.settings import Step as Kind
from visiondeploy.models.compression.shapes import LayerShape, shape_of
from visiondeploy.models.launch import launched
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import compress
from visiondeploy.pipeline.store import Artifact, Step, tool_versions
from visiondeploy.pipeline.trial import Made, Trial
from visiondeploy.pipeline.walk import Compiled

TRIES = 6
"""How often a network is pruned anew because its engine was slower than the table of times said."""

BATCHES = {"height", "width", "batch_size", "validate_images", "cross_entropy", "dice", "channels_last"}
"""What of the section `finetune` decides what a change sees, and what it is judged by."""

CLOSER = 0.98
"""What of the budget is aimed at, so that it is not missed by a hair once the network was tuned."""


@dataclass(frozen=True)
class Shrinking:
    """The steps of one build's compression, and the networks that they give."""

    ledger: Ledger
    dense: Artifact
    trial: Trial | None

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

    def steps(self) -> list[Made]:
        """The network as it was, then what each step made of it. Raises `GateFailed` for a budget that is not held."""
        made = [self._whole]
        steps, done = self.plan.recipe.compress.steps, list[Kind]()
        for number, step in enumerate(steps):
            name = variant_name((*done, step), of_several=steps.count("prune") > 1)
            changed = self._changed(name, step, made[-1], steps[number:].count(step))
            if not changed.meta["changed"]:
                self.ledger.events.tell(f"{name}: nothing is changed, since the network costs no more than it may")
                continue
            done.append(step)
            made.append(Made(name, changed, self._tuned(name, changed), changed.meta, str(changed.meta["changed"])))
        return made

    @cached_property
    def _multiple(self) -> int:
        """What channels are rounded to."""
        backend = self.trial.backend if self.trial else self.plan.backends[0]
        return self.plan.recipe.compress.multiple or backend.multiple(self.plan.recipe.precision)

    @cached_property
    def _whole(self) -> Made:
        """The network as it was."""
        return Made("dense", self.dense, self.dense, self.sized)

    @cached_property
    def sized(self) -> Mapping[str, Any]:
        """What the uncompressed network costs."""
        settings: dict[str, Any] = {
            "compress": self.plan.recipe.compress.model_dump(mode="json", include={"keep", "between", "separable"}),
            "steps": list(self.plan.recipe.compress.steps),
            "multiple": self._multiple,
        }
        step = Step("size_up", compress.SIZES_VERSION, {"network": self.dense.digest}, settings, self._tools)

        def make(out: Path) -> Mapping[str, Any]:
            return compress.size_up(self.dense.folder, self.plan.recipe.compress, self._multiple)

        return self.ledger.run("size up", step, "sizes", make, _costs_note).meta

    @property
    def _tools(self) -> dict[str, str]:
        return tool_versions(*compress.TOOLS)

    def _changed(self, name: str, step: Kind, before: Made, rounds: int) -> Artifact:
        """The network after a step. Under a budget of latency its engine is measured after the last one."""
        budget = self.plan.recipe.compress.limit
        if budget is None or (step == "separable" and self.plan.recipe.compress.budget is None):
            return self._change(name, step, before, None)
        if budget.kind != "latency":
            return self._change(name, step, before, self._aim(budget, before, rounds, step))
        return self._timed(name, step, before, rounds)

    def _aim(self, budget: Budget, before: Made, rounds: int, step: Kind) -> compress.Aim:
        """What a step may cost: of several rounds each takes the same share."""
        key = "parameters" if budget.kind == "params" else "macs"
        now = float(before.costs[key])
        # `prune` counts from where pruning begins, a budget from the uncompressed network.
        if self.plan.recipe.compress.budget is None:
            share = budget.amount ** (1 / self.plan.recipe.compress.rounds)
            return compress.Aim(budget.kind, now * share)
        limit = budget.limit(float(self.sized[key]))
        return compress.Aim(budget.kind, _part(now, limit, rounds if step == "prune" else 1))

    def _timed(self, name: str, step: Kind, before: Made, rounds: int) -> Artifact:
        """The network after a step whose cost is time: pruned again until its engine, measured, holds the budget."""
        trial, dense, share = self._timed_on, self.dense_engine, self.wanted
        assert share is not None
        whole, now = self._predicted(self._whole), self._predicted(before)
        last = step == "prune" and rounds == 1
        # What engines took, by what the table foretold: shares of the dense one's time.
        tries: list[tuple[float, float]] = []
        for _ in range(TRIES):
            aimed = next_aim(tries, share * CLOSER)
            limit = aimed * whole
            aim = compress.Aim("latency", _part(now, limit, rounds) if step == "prune" else limit, self._times)
            changed = self._change(name, step, before, aim)
            if not last:
                return changed
            raced = trial.share(name, dense, trial.engine(f"{name}, not tuned", changed))
            # The bound says whether the budget is held; what to aim at next follows from the estimate.
            found = float(raced["share_ci95"][1])
            if found <= share:
                return changed
            self.ledger.events.tell(f"the table of times said {aimed:.3f}, measured are {found:.3f}: pruned further")
            tries.append((aimed, float(raced["share"])))
        raise GateFailed(
            f"the budget {self.plan.recipe.compress.budget} is not held after {TRIES} tries: the engine takes up to "
            f"{found:.3g} of the uncompressed network's time on {trial.backend.name}. Allow more."
        )

    def _predicted(self, one: Made) -> float:
        """What the table says of all layers of a network, in milliseconds."""
        table = compress.Aim("latency", 0.0, self._times).cost()
        return sum(table.layer(name, shape_of(fields)) for name, fields in one.costs["layers"])

    @cached_property
    def _times(self) -> tuple[tuple[str, LayerShape, float], ...]:
        """The table: each layer at several numbers of channels, with its milliseconds on the backend."""
        named = [(name, fields) for name, fields in self.sized["shapes"]]
        times = self._timed_on.times([fields for _, fields in named])
        return tuple((name, shape_of(fields), time) for (name, fields), time in zip(named, times, strict=True))

    @cached_property
    def wanted(self) -> float | None:
        """The share of the uncompressed network's time that the budget leaves; None for a budget of something else."""
        budget = self.plan.recipe.compress.limit
        if budget is None or budget.kind != "latency":
            return None
        if budget.relative:
            return budget.amount
        milliseconds = float(self._timed_on.share("dense", self.dense_engine, self.dense_engine)["dense_ms"])
        if budget.amount >= milliseconds:
            self.ledger.events.tell(f"the uncompressed network takes {milliseconds:.3g} ms, which the budget allows")
        return budget.amount / milliseconds

    @cached_property
    def dense_engine(self) -> Compiled:
        """The engine of the uncompressed network."""
        return self._timed_on.engine("dense", self.dense)

    @property
    def _timed_on(self) -> Trial:
        if self.trial is None:
            raise EnvironmentMismatch(
                "a budget of latency is measured, and no engine of the build's backends runs here."
            )
        return self.trial

    def _change(self, name: str, step: Kind, before: Made, aim: compress.Aim | None) -> Artifact:
        recipe = self.plan.recipe
        inputs = {
            "network": before.tuned.digest,
            "train": self.plan.dataset.digest(recipe.data.train),
            "validation": self.plan.validation,
        }
        settings: dict[str, Any] = {
            "step": step,
            "aim": None
            if aim is None
            else [aim.kind, aim.limit, [[name, s.as_json(), time] for name, s, time in aim.times]],
            "compress": recipe.compress.model_dump(
                mode="json", exclude={"order", "rounds", "prune", "budget", "multiple", "separable"}
            ),
            "batches": recipe.finetune.model_dump(mode="json", include=BATCHES),
            "augment": recipe.augment.model_dump(mode="json"),
            "multiple": self._multiple,
        }
        key = Step("compress", compress.VERSION, inputs, settings, self._tools)

        def make(out: Path) -> Mapping[str, Any]:
            return compress.compress(
                before.tuned.folder,
                step,
                aim,
                self.plan.dataset,
                (recipe.data.train, recipe.data.val),
                recipe.compress,
                recipe.finetune,
                recipe.augment,
                self._multiple,
                recipe.threads,
                out,
                self.ledger.events.progress,
            )

        return self.ledger.run(f"compress: {name}", key, "network", make, _changed_note)

    def _tuned(self, name: str, changed: Artifact) -> Artifact:
        recipe = self.plan.recipe
        if not recipe.finetune.steps:
            return changed
        inputs = {
            "network": changed.digest,
            "teacher": self.dense.digest,
            "train": self.plan.dataset.digest(recipe.data.train),
            "validation": self.plan.validation,
        }
        settings: dict[str, Any] = {
            "finetune": recipe.finetune.model_dump(mode="json"),
            "augment": recipe.augment.model_dump(mode="json"),
            "processes": launched().count,
        }
        step = Step("finetune", compress.VERSION, inputs, settings, self._tools)
        # The other processes of a distributed run train along, and take the result from the store.
        if launched().rank > 0 and self.ledger.store.get(step.key) is None:
            self._tune(changed, step, None)

        def make(out: Path) -> Mapping[str, Any]:
            return self._tune(changed, step, out)

        return self.ledger.run(f"finetune: {name}", step, "network", make, _tuned_note)

    def _tune(self, changed: Artifact, step: Step, out: Path | None) -> dict[str, Any]:
        recipe = self.plan.recipe
        work = self.ledger.training_work(step)
        return compress.tune(
            changed.folder,
            self.dense.folder,
            self.plan.dataset,
            (recipe.data.train, recipe.data.val),
            recipe.finetune,
            recipe.augment,
            recipe.threads,
            work,
            out,
            self.ledger.events.progress,
        )


def variant_name(done: tuple[Kind, ...], *, of_several: bool) -> str:
    """What a variant is called: the steps that made it; "separable-pruned-2" after the second of several rounds."""
    names = {"separable": "separable", "prune": "pruned"}
    parts = [names[kind] for kind in dict.fromkeys(done)]
    rounds = done.count("prune")
    return "-".join([*parts, *([str(rounds)] if of_several and rounds else [])])


def next_aim(tries: list[tuple[float, float]], wanted: float) -> float:
    """What to aim at in the table so that `wanted` is measured, by what was measured at the aims so far.

    From two tries on along the line through the last two: part of the time is in no layer of the table, so that a
    share of it does not follow. Never less than half of the last aim.
    """
    if not tries:
        return wanted
    aimed, found = tries[-1]
    slope = found / aimed
    if len(tries) > 1 and tries[-2][0] > aimed and tries[-2][1] > found:
        slope = (tries[-2][1] - found) / (tries[-2][0] - aimed)
    return min(max(aimed - (found - wanted) / slope, aimed / 2), aimed * CLOSER)


def _part(now: float, limit: float, rounds: int) -> float:
    """The limit of the next of so many rounds: each leaves the same share."""
    return limit if limit >= now else now * (limit / now) ** (1 / rounds)


def _costs_note(meta: Mapping[str, Any]) -> str:
    return f"{meta['parameters'] / 1e6:.3g} M parameters, {meta['macs'] / 1e9:.3g} GMACs"


def _changed_note(meta: Mapping[str, Any]) -> str:
    metric = ", ".join(f"{name} {value:.3f} untuned" for name, value in meta["metric"].items())
    return f"{meta['changed'] or 'nothing changed'}, {_costs_note(meta)}, {metric}"


def _tuned_note(meta: Mapping[str, Any]) -> str:
    metric = "".join(f", {name} {value:.3f}" for name, value in meta["metric"].items())
    return f"{meta['steps']} steps{metric}"
