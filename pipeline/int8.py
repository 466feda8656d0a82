"""The stages of int8 and fp8: which images, what they show of the graph, the Q/DQ of each scheme, what stays in float.

sample ─► observe ─► quantise, once a scheme ─► [choose] ─► mix, where a limit is to be held by layers in float
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.calibration.observation import Observation
from visiondeploy.calibration.ranges import CalibrationData, NetworkKey, Ranges
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.base import Backend
from visiondeploy.pipeline.ledger import Ledger, parity_note
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.sampled import calibration_set
from visiondeploy.pipeline.stages import choose, mix, observe, quantise
from visiondeploy.pipeline.stages.sample import CalibrationSet
from visiondeploy.pipeline.store import Artifact, Step, tool_versions


@dataclass
class Int8:
    """A network's exported graph in int8."""

    ledger: Ledger
    network: Artifact
    exported: Artifact

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

    def by_scheme(self) -> dict[str, Artifact]:
        """The Q/DQ graph of every scheme that the backends name, checked against the exported graph."""
        recipe = self.plan.recipe
        if recipe.calibration.mixed and not self.ledger.trained:
            self.ledger.events.tell("calibration.mixed: no layer is tried in float, since the weights are random")
        made: dict[str, Artifact] = {}
        for backend in self.plan.backends:
            if (scheme := self.plan.scheme(backend)) in made:
                continue
            placed, found = self._fastest(backend, scheme)
            if recipe.calibration.mixed and self.ledger.trained:
                found = self._mix(placed, found)
            self.ledger.check(
                f"parity {recipe.precision} {scheme}", found, "onnx", recipe.limits.quantise_sqnr_db, pixels=True
            )
            made[scheme] = found
        return made

    def _fastest(self, backend: Backend, scheme: str) -> tuple[str, Artifact]:
        """The Q/DQ graph of a backend's scheme or, where its engines run here, of an alternative that is faster."""
        found = {scheme: self._quantise(scheme)}
        recipe, plan = self.plan.recipe, self.plan
        searched = scheme == backend.scheme and recipe.calibration.scheme == "auto" and backend.unrunnable() is None
        for other in backend.alternatives if searched else ():
            found[other] = self._quantise(other)
        if len(found) == 1:
            return scheme, found[scheme]
        settings: dict[str, Any] = {
            "backend": backend.name,
            "latency": recipe.bench.latency.model_dump(mode="json"),
            "engine": plan.heeded(backend),
            "threads": recipe.threads,
            "machine": fingerprint(plan.environment),
        }
        inputs = {"validation": plan.validation, **{name: made.digest for name, made in found.items()}}
        step = Step("choose", choose.VERSION, inputs, settings, tool_versions(*choose.TOOLS, *backend.packages))

        def make(out: Path) -> Mapping[str, Any]:
            return choose.choose(
                backend,
                {name: made.folder for name, made in found.items()},
                plan.samples[0],
                recipe.bench.latency,
                recipe.engine,
                recipe.threads,
                self.ledger.events.progress,
            )

        chosen = self.ledger.run(f"choose {scheme}", step, "choice", make, lambda meta: str(meta["chosen"]))
        name = str(chosen.meta["chosen"])
        if name != scheme:
            self.ledger.notes.append(f"{backend.name}: pairs stand as in the scheme {name}, which is faster here")
        return name, found[name]

    @cached_property
    def _set(self) -> tuple[CalibrationSet, str]:
        """The calibration set, and the digest of its artifact."""
        return calibration_set(self.ledger)

    @cached_property
    def _known(self) -> tuple[Callable[[], list[Observation] | Ranges], str]:
        """What is known of the graph's tensors, observed or given, when it is asked for; and its digest."""
        recipe = self.plan.recipe
        if self.plan.ranges is not None:
            given, digest = self.plan.ranges
            return lambda: given, digest
        chosen, digest = self._set
        inputs = {"exported": self.exported.digest, "set": digest}
        settings: dict[str, Any] = {
            "equalise": recipe.calibration.equalise,
            "input": self.plan.spec.input.model_dump(mode="json"),
        }
        step = Step("observe", observe.VERSION, inputs, settings, tool_versions(*observe.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            return observe.observe(
                self.exported.folder,
                self.plan.task,
                self.plan.dataset.split(recipe.data.calibration),
                chosen,
                recipe.calibration.equalise,
                recipe.threads,
                out,
                self.ledger.events.progress,
            )

        made = self.ledger.run("observe", step, "statistics", make, _observed_note)
        return lambda: observe.observations(made.folder), made.digest

    def _key(self) -> NetworkKey:
        files = self.network.files
        return NetworkKey(
            weights=(files.get("weights.safetensors") or files["model.onnx"]).sha256,
            graph=self.exported.files["model.onnx"].sha256,
            preprocessing=self.plan.spec.input.model_dump(mode="json"),
        )

    def _quantise(self, scheme: str) -> Artifact:
        recipe, bits = self.plan.recipe, self.plan.weight_bits(scheme)
        if self.plan.ranges is not None:
            given, origin = self.plan.ranges[0], str(recipe.calibration.ranges)
            given.check(self._key(), recipe.calibration.observer, SCHEMES[scheme].target, origin)
        (chosen, set_digest), (known_of, known_digest) = self._set, self._known
        inputs = {
            "exported": self.exported.digest,
            "validation": self.plan.validation,
            "set": set_digest,
            "known": known_digest,
        }
        settings: dict[str, Any] = {
            "calibration": recipe.calibration.model_dump(
                mode="json", include={"observer", "bias_correction", "adaround"}
            ),
            "scheme": scheme,
            "weight_bits": bits,
            "parity_images": recipe.limits.parity_images,
            "input": self.plan.spec.input.model_dump(mode="json"),
        }
        step = Step("quantise", quantise.VERSION, inputs, settings, tool_versions(*quantise.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            split = self.plan.dataset.split(recipe.data.calibration)
            data = CalibrationData(
                dataset=self.plan.dataset.name, split=split.name, digest=chosen.digest, images=chosen.names
            )
            known = known_of()
            return quantise.quantise(
                self.exported.folder,
                self.plan.task,
                split,
                chosen,
                known,
                self._key(),
                known.data if isinstance(known, Ranges) else data,
                self.plan.samples,
                recipe.calibration,
                SCHEMES[scheme],
                bits,
                recipe.threads,
                out,
                self.ledger.events.progress,
            )

        return self.ledger.run(f"quantise {scheme}", step, "onnx", make, _quantised_note)

    def _mix(self, scheme: str, quantised: Artifact) -> Artifact:
        recipe, (chosen, _) = self.plan.recipe, self._set
        metric = self.plan.task.metrics[0]
        margin = recipe.limits.margin(smaller=metric.smaller)
        judged = self.plan.judged(chosen)
        inputs = {
            "exported": self.exported.digest,
            "quantised": quantised.digest,
            "validation": self.plan.validation,
            "judged": self.plan.dataset.digest(judged.name),
        }
        settings: dict[str, Any] = {
            "images": list(judged.indices),
            "max_drop": margin,
            "scheme": scheme,
            "parity_images": recipe.limits.parity_images,
            "input": self.plan.spec.input.model_dump(mode="json"),
        }
        step = Step("mix", mix.VERSION, inputs, settings, tool_versions(*mix.TOOLS))

        def make(out: Path) -> Mapping[str, Any]:
            return mix.mix(
                self.exported.folder,
                quantised.folder,
                quantised.meta,
                self.plan.task,
                judged,
                self.plan.samples,
                margin,
                SCHEMES[scheme],
                recipe.threads,
                out,
                self.ledger.events.progress,
            )

        made = self.ledger.run(f"mix {scheme}", step, "onnx", make, _mixed_note)
        kept = made.meta["mixed"]["kept_in_float"]
        if kept:
            products = len(kept) + len(made.meta["int8"])
            self.ledger.notes.append(
                f"{scheme}: {len(kept)} of {products} layers are kept in float to lose at most "
                f"{margin:g} {metric.unit}, chosen on {len(judged)} images of '{judged.name}': " + ", ".join(kept)
            )
        return made


def _observed_note(meta: Mapping[str, Any]) -> str:
    return f"{meta['tensors']} tensors on {meta['images']} images"


def _quantised_note(meta: Mapping[str, Any]) -> str:
    how = " + ".join([meta["observer"], *meta["repairs"]])
    return f"{how}, {parity_note(meta)}"


def _mixed_note(meta: Mapping[str, Any]) -> str:
    found = meta["mixed"]
    delta = next((one["delta"] for one in reversed(found["tried"]) if one["holds"] and "delta" in one), None)
    said = "" if delta is None else f", {delta:+.2f} points on {found['images']} images"
    return f"{len(found['kept_in_float'])} layers kept in float{said}"
