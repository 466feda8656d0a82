"""Parity: how far a stage's result is from what went into it, on real samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.benchmarks.report.schema import AgreementRow
from visiondeploy.types import Agreement, Array, Session, Task

Feeds = Sequence[Mapping[str, Array]]


def parity(reference: Session, candidate: Session, task: Task, samples: Feeds) -> Agreement:
    """Run both on each of `samples` and compare every output value, and the classes where the task has them."""
    meter = AgreementMeter()
    for feeds in samples:
        before, after = reference.infer(feeds), candidate.infer(feeds)
        meter.update(before, after, task.labels(before), task.labels(after))
    return meter.result()


def as_row(found: Agreement) -> dict[str, Any]:
    """For an artifact's record, in the words of the report contract."""
    return AgreementRow.of(found).model_dump(mode="json")
