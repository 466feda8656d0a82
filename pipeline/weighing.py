"""What came of the steps of a compression: every variant measured in one run, and one of them chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import fingerprint
from visiondeploy.benchmarks.report.compression import Compression, LayerChange, LayerCost, Variant
from visiondeploy.benchmarks.report.compression_cells import LAYERS_FILE
from visiondeploy.benchmarks.report.markdown import compression_page
from visiondeploy.benchmarks.report.schema import Check, Environment, Report, Row, Verdict
from visiondeploy.benchmarks.statistics import at_least, paired_ratio
from visiondeploy.models.compression.budget import parse_budget
from visiondeploy.models.compression.shapes import shape_of
from visiondeploy.pipeline import gate
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.stages import measure as measuring
from visiondeploy.pipeline.store import Artifact, Step, tool_versions
from visiondeploy.pipeline.trial import PROFILED_RUNS, Made, Trial
from visiondeploy.pipeline.walk import Walk, noise_of
from visiondeploy.types import Outcome

Speed = tuple[float, tuple[float, float]]
"""The speed of an engine over the uncompressed network's, and its 95 % interval."""
Speeds = Mapping[str, Speed]

QUICKLY = (
    "engines of variants are calibrated quickly, to compare them: what `deploy build` makes of the chosen one is more "
    "exact"
)
"""Said of a report whose rows are variants."""

BUDGET = "compression: budget"


@dataclass(frozen=True)
class Compressed:
    """What the build goes on with, what was found, and the artifacts to keep. `report` is of the variants, if timed."""

    network: Artifact
    record: Compression
    report: Report | None
    checks: tuple[Check, ...]
    places: dict[str, Artifact]

    @property
    def is_other(self) -> bool:
        """Whether it is another network than the one that was to be compressed."""
        return self.record.chosen != self.record.variants[0].name


@dataclass(frozen=True)
class Weighing:
    """The variants of one network, the uncompressed one first.

    `trial` is None where no engine runs here; `wanted` is the share of its time that a budget leaves.
    """

    ledger: Ledger
    trial: Trial | None
    made: Sequence[Made]
    wanted: float | None

    @property
    def plan(self) -> Plan:
        """What the recipe means on this machine."""
        return self.ledger.plan

    def weighed(self) -> Compressed:
        """Measure every variant in one run, and choose the last that is not slower than the uncompressed network."""
        recipe, made = self.plan.recipe, self.made
        rows: tuple[Row, ...] = ()
        found: Mapping[str, Any] = {"rows": [], "milliseconds": {}}
        if self.trial is not None:
            for one in made:
                one.engine = self.trial.engine(one.name, one.tuned)
            found = self._measured(self.trial).meta
            rows = tuple(Row.model_validate(row) for row in found["rows"])
        by_name = {one.name: rows[number] for number, one in enumerate(made, start=1)} if rows else {}
        timed = {name: row for name, row in by_name.items() if row.latency_ms is not None}
        speeds = {name: _speed(timed["dense"], row) for name, row in timed.items() if "dense" in timed}
        # In doubt it is used: what was asked for is a smaller network.
        slower = [one for one in made[1:] if one.name in speeds and speeds[one.name][1][1] < 1]
        chosen = [one for one in made if one not in slower][-1]
        record = Compression(
            metric=self.plan.task.metrics[0].name,
            backend=self.trial.backend.name if self.trial else None,
            precision=recipe.precision,
            variants=tuple(self._variant(one, by_name.get(one.name), speeds.get(one.name)) for one in made),
            chosen=chosen.name,
            layers=layer_changes(made[0], chosen, found["milliseconds"]),
            notes=tuple(self._notes(slower, speeds)),
        )
        checks = self._checks(chosen, by_name, speeds)
        places = {"network-compressed": chosen.tuned}
        if not rows:
            return Compressed(chosen.tuned, record, None, tuple(checks), places)
        judged = gate.row_checks(by_name[chosen.name], recipe.limits, self.ledger.trained, compressed=True)
        report = Report(
            environment=Environment.model_validate(found["environment"]),
            rows=rows,
            verdict=Verdict.of([*checks, *judged]),
            notes=(
                *((QUICKLY,) if recipe.precision.quantised else ()),
                *gate.notes(self.plan.spec, self.ledger.trained),
            ),
            noise=noise_of(found),
            compression=record,
        )
        places["compression"] = self._shown(report)
        return Compressed(chosen.tuned, record, report, tuple(checks), places)

    def _measured(self, trial: Trial) -> Artifact:
        recipe, walk = self.plan.recipe, Walk(self.ledger)
        baseline = walk.baseline(self.made[0].tuned, [], {})
        engines = {one.name: one.engine for one in self.made if one.engine is not None}
        settings: dict[str, Any] = {
            "bench": recipe.bench.model_dump(mode="json"),
            "names": [recipe.name, *engines],
            "profiled": PROFILED_RUNS,
            "precision": recipe.precision,
            "threads": recipe.threads,
            "machine": fingerprint(self.plan.environment),
        }
        inputs = {"baseline": baseline.artifact.digest, "validation": self.plan.validation}
        inputs |= {name: engine.artifact.digest for name, engine in engines.items()}
        tools = tool_versions(*measuring.TOOLS, *self.ledger.plan.baseline.packages, *trial.backend.packages)
        step = Step("weigh", measuring.VERSION, inputs, settings, tools)
        contenders = [walk.contender(baseline, self.made[0].tuned)]
        for one in self.made:
            assert one.engine is not None
            # Made by the recipe of a trial: what is said of this one's engines does not hold of it.
            contenders.append(replace(walk.contender(one.engine, one.tuned, one.name), notes=()))

        def make(out: Path) -> Mapping[str, Any]:
            milliseconds = {name: trial.layer_times(engine) for name, engine in engines.items()}
            return walk.measured(contenders, self.plan.spec) | {"milliseconds": milliseconds}

        return self.ledger.run("weigh", step, "measurement", make, lambda meta: f"{len(meta['rows'])} rows")

    def _shown(self, report: Report) -> Artifact:
        """The report of the variants, with their picture, as files."""
        text, record = report.to_json(), report.compression
        assert record is not None
        step = Step(
            "picture", 1, {"report": hashlib.sha256(text.encode()).hexdigest()}, {}, tool_versions("matplotlib")
        )

        def make(out: Path) -> Mapping[str, Any]:
            from visiondeploy.benchmarks.report.pareto import pareto_plot, save_plot

            (out / "report.json").write_text(text, encoding="utf-8")
            (out / LAYERS_FILE).write_text(compression_page(record), encoding="utf-8")
            for kind in ("png", "svg"):
                save_plot(out / f"pareto.{kind}", pareto_plot(report))
            return {}

        return self.ledger.run("picture", step, "report", make, lambda _: "metric over latency")

    def _variant(self, one: Made, row: Row | None, speed: Speed | None) -> Variant:
        metric = self.plan.task.metrics[0].name
        untuned = one.changed.meta.get("metric", {}).get(metric)
        tuned = one.tuned.meta if one.tuned is not one.changed else {}
        history = self.made[0].tuned.meta["history"] if one.tuned is self.made[0].tuned else []
        return Variant(
            name=one.name,
            change=one.change,
            parameters=one.costs["parameters"],
            macs=one.costs["macs"],
            row=row.name if row else None,
            untuned=untuned,
            tuned=history[-1].get(metric) if history else tuned.get("metric", {}).get(metric),
            steps=tuned.get("steps", 0),
            seconds=tuned.get("seconds", 0.0),
            speed_over_dense=speed[0] if speed else None,
            speed_over_dense_ci95=speed[1] if speed else None,
        )

    def _notes(self, slower: list[Made], speeds: Speeds) -> list[str]:
        said = [
            f"{one.name} is slower than the uncompressed network (×{speeds[one.name][0]:.3f}), though it has "
            f"{one.costs['parameters']:,} parameters of {self.made[0].costs['parameters']:,}: it is not used"
            for one in slower
        ]
        for sentence in said:
            self.ledger.events.warn(sentence)
        return said

    def _checks(self, chosen: Made, by_name: Mapping[str, Row], speeds: Speeds) -> list[Check]:
        """That what was asked for is what came out: all steps are used, and the budget is held."""
        checks, last = [], self.made[-1]
        if by_name and last is not self.made[0]:
            checks.append(_speed_check(last.name, chosen.name, speeds.get(last.name)))
        budget = self.plan.recipe.compress.budget
        if budget is None:
            return checks
        limit = parse_budget(budget)
        if limit.kind != "latency":
            key = "parameters" if limit.kind == "params" else "macs"
            found, whole = float(last.costs[key]), float(self.made[0].costs[key])
            wanted = limit.limit(whole)
            status = Outcome.PASS if found <= wanted else Outcome.FAIL
            said = f"{found:,.0f} of {whole:,.0f}"
            return [*checks, Check(name=BUDGET, limit=f"{budget}: {wanted:,.0f}", found=said, status=status)]
        assert self.wanted is not None
        if last.name not in speeds:
            said, status = "not measured", Outcome.INCONCLUSIVE
        else:
            value, (slow, fast) = speeds[last.name]
            said = f"{1 / value:.3f}, 95 % interval {1 / fast:.3f} to {1 / slow:.3f}"
            status = at_least((slow, fast), 1 / self.wanted)
        wish = f"{budget}: {self.wanted:.3f} of the uncompressed network's time"
        return [*checks, Check(name=BUDGET, limit=wish, found=said, status=status)]


def _speed_check(last: str, chosen: str, speed: Speed | None) -> Check:
    """PASS where the last variant is faster, FAIL where it is slower, by its interval."""
    name, limit = f"compression: speed of {last}", "no slower than the uncompressed network"
    if speed is None:
        return Check(name=name, limit=limit, found="not measured", status=Outcome.INCONCLUSIVE)
    value, (low, high) = speed
    found = f"{value:.3g}× its speed, 95 % interval {low:.3g} to {high:.3g}"
    found += "" if chosen == last else f"; {chosen} is used"
    return Check(name=name, limit=limit, found=found, status=at_least((low, high), 1))


def layer_changes(
    dense: Made, chosen: Made, milliseconds: Mapping[str, Mapping[str, float]]
) -> tuple[LayerChange, ...]:
    """Each layer of the uncompressed network with those that stand in its place: of its name, or below it.

    `milliseconds` has the times of the layers of variants by their names.
    """
    before_times, after_times = (milliseconds.get(one.name, {}) for one in (dense, chosen))
    return tuple(
        LayerChange(
            before=_layer_cost(layer, shape, before_times),
            after=tuple(
                _layer_cost(other, found, after_times)
                for other, found in chosen.costs["layers"]
                if other == layer or other.startswith(f"{layer}.")
            ),
        )
        for layer, shape in dense.costs["layers"]
    )


def _layer_cost(name: str, fields: Mapping[str, Any], milliseconds: Mapping[str, float]) -> LayerCost:
    shape = shape_of(fields)
    return LayerCost(
        name=name,
        kind=shape.kind,
        in_channels=shape.in_channels,
        out_channels=shape.out_channels,
        kernel=shape.kernel,
        groups=shape.groups,
        parameters=shape.parameters,
        macs=shape.macs,
        milliseconds=milliseconds.get(name),
    )


def _speed(dense: Row, row: Row) -> Speed:
    """The speed of a row's engine over that of the uncompressed network, from the blocks of one run."""
    assert dense.latency_ms is not None
    assert row.latency_ms is not None
    found = paired_ratio(dense.latency_ms.blocks, row.latency_ms.blocks)
    return found.value, found.ci95
