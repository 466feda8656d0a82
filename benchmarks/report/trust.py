"""Sentences on how far the times of a report can be trusted: noise, other load, warm-up, and why measuring ended."""

from __future__ import annotations

from collections.abc import Iterator

from visiondeploy.benchmarks.report.measured import Noise
from visiondeploy.benchmarks.report.schema import Report

BIAS = 0.01
"""How far the baseline over itself may be from 1, where its interval excludes that, before a warning is due."""
SPREAD = 0.1
"""The spread of blocks from which on it is."""
OTHERS = 0.1
"""Cores' worth of other load from which on it is told; from thrice as much on it is a warning."""

_STOPPED = {
    "precise": "the intervals of all speed-ups were narrow enough",
    "budget": "the time was used",
    "max-blocks": "the most blocks were run",
}


def warnings(report: Report) -> tuple[str, ...]:
    """What is to be known before a time or speed-up is believed."""
    return tuple(_warnings(report))


def notes(report: Report) -> tuple[str, ...]:
    """The rest: noise that is as it should be, other load, rows that were not steady, why measuring ended."""
    return tuple(_notes(report))


def is_noisy(noise: Noise) -> bool:
    """Whether speed-ups that were measured beside this noise are not to be trusted."""
    biased = not noise.ci95[0] <= 1 <= noise.ci95[1] and abs(noise.value - 1) >= BIAS
    return biased or noise.spread >= SPREAD


def _warnings(report: Report) -> Iterator[str]:
    machine, noise = report.environment, report.noise
    if machine.cores_available is not None and machine.threads > machine.cores_available:
        yield (
            f"{machine.threads} threads share {machine.cores_available} cores and slow each other, "
            "so that no time here is that of another machine; use --threads."
        )
    if noise is not None and is_noisy(noise):
        yield (
            f"the machine was not quiet: {_noise(noise)}. Speed-ups of this run are not to be trusted "
            "to less than that; measure again while nothing else runs, or longer."
        )
    if _taken(report) >= 3 * OTHERS:
        yield f"{_load(report)}: a busy machine slows the baseline most, so that speed-ups of this run flatter."


def _notes(report: Report) -> Iterator[str]:
    noise = report.noise
    if noise is not None and not is_noisy(noise):
        yield f"noise: {_noise(noise)}."
    if OTHERS <= _taken(report) < 3 * OTHERS:
        yield f"{_load(report)}."
    timed = [(row.name, row.latency_ms) for row in report.rows if row.latency_ms is not None]
    for name, latency in timed:
        if not latency.settled:
            yield f"{name} was not steady after {latency.warmups} runs of warm-up: its times may still have moved."
    reasons = {latency.stopped for _, latency in timed if latency.stopped is not None and latency.blocks}
    if len(reasons) == 1 and (said := _STOPPED.get(reasons.pop())):
        blocks = max(len(latency.blocks) for _, latency in timed)
        yield f"latency: {blocks} blocks, until {said}."


def _noise(noise: Noise) -> str:
    low, high = noise.ci95
    return (
        f"the baseline over itself is {noise.value:.3f} ({low:.3f} to {high:.3f}), "
        f"and blocks differ by {noise.spread * 100:.1f} %"
    )


def _taken(report: Report) -> float:
    """Cores' worth of time that others took."""
    activity = report.environment.activity
    return 0.0 if activity is None else (activity.others or 0.0) + (activity.stolen or 0.0)


def _load(report: Report) -> str:
    machine, activity = report.environment, report.environment.activity
    cores = f" of {machine.cores_logical} cores" if machine.cores_logical else " cores"
    parts = [f"other processes took {activity.others or 0:.2f}{cores} meanwhile"] if activity is not None else []
    if activity is not None and activity.stolen and activity.stolen >= OTHERS:
        parts.append(f"other virtual machines {activity.stolen:.2f}")
    if machine.autogroup:
        parts.append("niceness does not hold back those of another session (autogroup is on)")
    return ", ".join(parts)
