"""Parity: how far a stage's result is from what went into it, on real samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.benchmarks.report.schema import AgreementRow
from visiondeploy.types import Agreement, Array, Session, Task

Feeds = Sequence[Mapping[str, Array]]


def parity(reference: Session, candidate: Session, task: Task, samples: Feeds) -> Agreement:
    """Run both on each of `samples` and compare output values, and classes, where the task has them."""
    meter = AgreementMeter()
    for feeds in samples:
        before, after = reference.infer(feeds), candidate.infer(feeds)
        _add(meter, task, before, after)
    return meter.result()


def served_parity(bare: Session, served: Session, task: Task, samples: Feeds, raw: Feeds) -> Agreement:
    """Compare a graph that takes raw images with the bare network in it, in the outputs that it has.

    `task` is that of the graph; `samples` and `raw` are the same images as feeds of the network and of the graph.
    """
    meter = AgreementMeter()
    for feeds, images in zip(samples, raw, strict=True):
        before, after = task.finish(bare.infer(feeds)), served.infer(images)
        _add(meter, task, before, after)
    return meter.result()


def _add(meter: AgreementMeter, task: Task, before: Mapping[str, Array], after: Mapping[str, Array]) -> None:
    meter.update(task.values(before), task.values(after), task.labels(before), task.labels(after))


def as_row(found: Agreement) -> dict[str, Any]:
    """For an artifact's record, in the words of the report contract."""
    return AgreementRow.of(found).model_dump(mode="json")
