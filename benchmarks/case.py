"""What the limits of a suite are judged by: a report, the statistics behind it, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from visiondeploy.benchmarks.accuracy import quality
from visiondeploy.benchmarks.reference import Reference
from visiondeploy.benchmarks.report.schema import Quality, Report, Row
from visiondeploy.benchmarks.samples import Samples
from visiondeploy.benchmarks.suite import Against
from visiondeploy.types import Array, Metric, Status


class NotJudged(Exception):
    """Why a limit cannot be judged by what is there: INCONCLUSIVE, and `needed` says what would decide."""

    def __init__(self, reason: str, needed: str | None = None) -> None:
        super().__init__(reason)
        self.needed = needed


class CannotHold(Exception):
    """Why a limit cannot hold whatever is measured: it is of something that the row does not have. FAIL."""


@dataclass(frozen=True)
class Case:
    """A report with all that is known besides.

    `samples` are the statistics of its rows by image, `metrics` what is made of them by name; of a network with random
    weights, not `trained`, they say nothing. `reference` is a stored one with its own samples, and `no_reference` says
    why there is none.
    """

    report: Report
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    samples: Samples | None = None
    trained: bool = True
    reference: Reference | None = None
    reference_samples: Samples | None = None
    no_reference: str = "there is no reference: write one with `deploy gate --update`, or name it with --reference"

    @cached_property
    def bases(self) -> Mapping[tuple[str, str], Row]:
        """The engines of the base commit that were measured, by backend and precision."""
        rows = (row for row in self.report.rows if row.base and row.status is Status.OK)
        return {(row.backend, row.precision.value): row for row in rows}

    def base_of(self, row: Row) -> Row:
        """The base's engine of the same backend and precision. Raises `NotJudged`."""
        if not any(each.base for each in self.report.rows):
            raise NotJudged("no base was measured in this run: add --base with a build of the base commit")
        found = self.bases.get((row.backend, row.precision.value))
        if found is None:
            raise NotJudged(f"the base has no engine of {row.backend} in {row.precision.value} that runs")
        return found

    def referred(self, row: Row) -> Row:
        """The reference's row of that name. Raises `NotJudged`."""
        if self.reference is None:
            raise NotJudged(self.no_reference)
        found = self.reference.row(row.name)
        if found is None:
            raise NotJudged(
                f"the reference has no row {row.name}, only {', '.join(each.name for each in self.reference.rows)}",
                "a new reference (--update) would decide",
            )
        return found

    def metric(self, row: Row, name: str | None) -> Quality:
        """The row's metric of that name, or its first. Raises `CannotHold` where it has none, `NotJudged`."""
        found = [each for each in (row.quality, *row.more) if each is not None]
        chosen = next((each for each in found if name in {None, each.metric}), None)
        if chosen is None:
            known = ", ".join((*(each.metric for each in found), *row.likeness)) or "none"
            raise CannotHold(f"no metric {name!r} was measured of it, only: {known}")
        if not self.trained:
            raise NotJudged("the weights are random: the metric says nothing")
        return chosen

    def pair(self, row: Row, against: Against) -> tuple[Array, Array]:
        """Statistics (n, …) of what a row is compared with, and of the row, on the same images. Raises `NotJudged`."""
        ours = self.samples
        if ours is None or row.name not in ours.rows:
            raise NotJudged("the statistics of each image are not beside the report (samples.safetensors): bench again")
        if against == "reference":
            self.referred(row)
            theirs = self.reference_samples
            if theirs is None or row.name not in theirs.rows:
                raise NotJudged("the statistics of each image are not beside the reference: write it anew (--update)")
            missing = [name for name in ours.names if name not in theirs.names]
            if missing:
                raise NotJudged(
                    f"{len(missing)} of {len(ours.names)} images are not in the reference, as {missing[0]}",
                    "a reference of all images (--update) would decide",
                )
            return theirs.chosen(ours.names, row.name), ours.rows[row.name]
        other = self.report.baseline if against == "baseline" else self.base_of(row)
        if other.name not in ours.rows:
            raise NotJudged(f"the statistics of {other.name} are not beside the report: bench again")
        return ours.rows[other.name], ours.rows[row.name]

    def quality(self, row: Row, name: str | None, against: Against) -> Quality:
        """The metric beside that of what it is compared with, with the interval of the difference.

        Raises as `metric` and `pair`.
        """
        found = self.metric(row, name)
        if against == "baseline":
            return found
        before, after = self.pair(row, against)
        return quality(self.metrics[found.metric], before, after)
