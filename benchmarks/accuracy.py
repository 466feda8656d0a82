"""Quality and agreement of sessions over the samples of a split, each sample read once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.benchmarks.report.measured import Likeness
from visiondeploy.benchmarks.report.schema import ClassQuality, Quality
from visiondeploy.benchmarks.statistics import Estimate, paired_bootstrap, paired_bootstrap_parts
from visiondeploy.errors import InputError, UsageError
from visiondeploy.types import Agreement, Array, Metric, Sample, Session, Split, Task

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Compared:
    """What one pass found.

    `reference` holds the reference's rows of statistics, (n, …), `scores` those of each candidate by name;
    `agreements` says how far a candidate's outputs are from the reference's, `nonfinite` how many elements
    of them were NaN or infinite; `likeness` has what else is said of how alike they are, (n,) by measure;
    `names` are those of the n samples.
    """

    reference: Array
    scores: dict[str, Array]
    agreements: dict[str, Agreement]
    nonfinite: dict[str, int]
    likeness: dict[str, dict[str, Array]]
    names: tuple[str, ...] = ()


def chosen(length: int, limit: int | None) -> tuple[int, ...]:
    """Indices of `limit` samples out of `length`, spread evenly, as neighbours in a split are often alike.

    All of them where limit is None or larger. Raises UsageError on a limit below 1, InputError where the
    split is empty.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the number of samples is 1 or more, found {limit}.")
    if length == 0:
        raise InputError("the split has no samples: check the folder of the data set.")
    count = length if limit is None else min(limit, length)
    return tuple(index * length // count for index in range(count))


def evaluate(
    session: Session,
    task: Task,
    split: Split,
    limit: int | None = None,
    *,
    batch: int = 1,
    progress: Progress | None = None,
) -> Array:
    """Rows of statistics (n, …), one for each of n samples (`task.score`), in the order of the split.

    `limit` samples are taken, spread evenly (`chosen`), `batch` at a time; the last batch may be smaller.
    `progress` is called with samples done and samples in all.

    Raises UsageError on a limit or batch below 1, InputError where the split is empty.
    """
    if batch < 1:
        raise UsageError(f"the batch is 1 or more, found {batch}.")
    indices = chosen(len(split), limit)
    rows: list[Array] = []
    for start in range(0, len(indices), batch):
        samples = [split[index] for index in indices[start : start + batch]]
        feeds = task.preprocess(samples)
        rows.append(task.score(session.infer(feeds), samples))
        if progress is not None:
            progress(start + len(samples), len(indices))
    return np.concatenate(rows)


def compare(
    reference: Session,
    candidates: Mapping[str, Session],
    task: Task,
    split: Split,
    limit: int | None = None,
    *,
    progress: Progress | None = None,
) -> Compared:
    """One pass over the samples: each is read and preprocessed once and run by the reference and all candidates.

    Memory is that of one sample's outputs by the reference and one candidate, whatever the number of
    samples. `limit` and `progress` as in `evaluate`. NaN or infinite outputs of a candidate are counted
    and make its agreement infinitely bad; they do not end the pass.

    Raises UsageError on a limit below 1; InputError where the split is empty, a candidate's outputs are
    not those of the reference by name and shape, or the reference's outputs are not finite.
    """
    meters = {name: AgreementMeter() for name in candidates}
    reference_rows: list[Array] = []
    names: list[str] = []
    rows: dict[str, list[Array]] = {name: [] for name in candidates}
    alike: dict[str, dict[str, list[Array]]] = {name: {} for name in candidates}
    for sample in _samples(split, limit, progress):
        names.append(sample.name)
        feeds = task.preprocess([sample])
        expected = reference.infer(feeds)
        labels = task.labels(expected)
        later = task.moved(sample)
        moved = None if later is None else task.preprocess([later])
        reference_rows.append(task.score(expected, [sample], moved and reference.infer(moved)))
        for name, session in candidates.items():
            found = session.infer(feeds)
            try:
                meters[name].update(task.values(expected), task.values(found), labels, task.labels(found))
            except InputError as error:
                raise InputError(f"{name} cannot be compared on sample '{sample.name}': {error}") from error
            rows[name].append(task.score(found, [sample], moved and session.infer(moved)))
            for measure, values in task.likeness(expected, found).items():
                alike[name].setdefault(measure, []).append(values)
    return Compared(
        reference=np.concatenate(reference_rows),
        scores={name: np.concatenate(found) for name, found in rows.items()},
        agreements={name: meter.result() for name, meter in meters.items()},
        nonfinite={name: meter.nonfinite for name, meter in meters.items()},
        likeness={
            name: {measure: np.concatenate(values) for measure, values in found.items()}
            for name, found in alike.items()
        },
        names=tuple(names),
    )


def _samples(split: Split, limit: int | None, progress: Progress | None) -> Iterator[Sample]:
    indices = chosen(len(split), limit)
    for done, index in enumerate(indices, start=1):
        yield split[index]
        if progress is not None:
            progress(done, len(indices))


def likeness(values: Array) -> Likeness:
    """The mean of a measure of n samples, (n,), with its interval."""
    ci95 = None
    if len(values) > 1:
        ci95 = paired_bootstrap(lambda rows: float(rows.mean()), np.zeros_like(values), values).ci95
    return Likeness(value=float(values.mean()), ci95=ci95, n=len(values))


def quality(metric: Metric, baseline: Array, candidate: Array, *, resamples: int = 2_000, seed: int = 0) -> Quality:
    """A metric of a candidate's rows of statistics (n, …) beside the baseline's on the same samples.

    Raises UsageError where the shapes differ, InputError where the metric of either is not a finite number.
    """
    value, reference = float(metric.value(candidate)), float(metric.value(baseline))
    for whose, found in (("candidate", value), ("baseline", reference)):
        if not math.isfinite(found):
            raise InputError(
                f"{metric.name} of the {whose} is {found} over {len(candidate)} samples: "
                "check that its outputs are finite and that the samples have truths."
            )
    of_candidate, of_baseline = metric.parts(candidate), metric.parts(baseline)
    names = list(dict.fromkeys((*of_baseline, *of_candidate)))
    ci95, changes = None, dict[str, Estimate | None]()
    if len(candidate) > 1:
        ci95 = paired_bootstrap(metric.value, baseline, candidate, resamples=resamples, seed=seed).ci95
        changes = _changes(metric, names, baseline, candidate, resamples, seed)
    return Quality(
        metric=metric.name,
        value=value,
        baseline=reference,
        delta=value - reference,
        ci95=ci95,
        n=len(candidate),
        per_class={
            name: ClassQuality(
                value=of_candidate.get(name),
                baseline=of_baseline.get(name),
                ci95=change.ci95 if (change := changes.get(name)) is not None else None,
                n=change.n if change is not None else None,
            )
            for name in names
        },
        part=metric.part,
        smaller=metric.smaller,
        judged=metric.judged,
    )


def _changes(
    metric: Metric, names: list[str], baseline: Array, candidate: Array, resamples: int, seed: int
) -> dict[str, Estimate | None]:
    """The change of each part of a metric; None where too few samples have it."""
    if not names:
        return {}

    def parts(rows: Array) -> Array:
        found = metric.parts(rows)
        return np.array([math.nan if (part := found.get(name)) is None else part for name in names])

    found = paired_bootstrap_parts(parts, baseline, candidate, resamples=resamples, seed=seed)
    return dict(zip(names, found, strict=True))
