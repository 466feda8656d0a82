"""A metric over the runs of a history, in series whose points can be compared.

What depends on the machine (time, memory) is compared within one environment alone: the same processor, threads, limits
and versions of the runtimes. Accuracy is compared where the validation data and the number of images are the same, on
whatever machine. Points that cannot be compared are in series of their own, and a sentence says what differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from visiondeploy.benchmarks.history import Kept, Stop
from visiondeploy.benchmarks.report.cells import count, number, size
from visiondeploy.benchmarks.report.measured import Latency, Likeness
from visiondeploy.benchmarks.report.schema import Environment, Quality, Row
from visiondeploy.errors import UsageError, unknown_name
from visiondeploy.types import Status

Interval = tuple[float, float]

DEFAULT = "speedup"

RUNTIMES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")
"""Packages that what is measured over time depends on."""

_MACHINE = (
    "cpu",
    "machine",
    "isa",
    "cores_physical",
    "cores_logical",
    "cores_available",
    "cpu_quota",
    "threads",
    "gpu",
    "governor",
    "turbo",
    "variables",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """What is followed: its value and interval in a row, None where that was not measured.

    `holds` says where values can be compared: in one "environment", on one set of "data", or "everywhere".
    """

    name: str
    title: str
    smaller: bool
    holds: Literal["environment", "data", "everywhere"]
    read: Callable[[Row], tuple[float, Interval | None] | None]
    shown: Callable[[float], str]
    directed: bool = True
    """Whether it is known which way is better."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value in a run; `stop` is the number of its place on the axis of commits."""

    stop: int
    kept: Kept
    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one row that can be compared; `group` is the letter of their environment or data, "" where one is all.

    `lines` are pairs of points, by number, the second of which follows the first: the last run of a commit and that of
    the nearest ones that it descends from.
    """

    row: str
    group: str
    points: tuple[Point, ...]
    lines: tuple[tuple[int, int], ...]

    @property
    def label(self) -> str:
        """Its name in a legend."""
        return f"{self.row} ({self.group})" if self.group else self.row


@dataclass(frozen=True, slots=True)
class Trend:
    """A metric over commits. `groups` says of each letter what it is, `notes` what is not compared and why."""

    name: str
    metric: Metric
    stops: tuple[Stop, ...]
    series: tuple[Series, ...]
    groups: dict[str, str]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """As JSON text with a final newline."""
        content: dict[str, Any] = {
            "schema": "visiondeploy.trend/1",
            "name": self.name,
            "metric": self.metric.name,
            "smaller_is_better": self.metric.smaller,
            "groups": self.groups,
            "notes": list(self.notes),
            "commits": [
                {"sha": stop.sha, "dirty": stop.dirty, "after": list(stop.before), "files": [k.file for k in stop.runs]}
                for stop in self.stops
            ],
            "series": [
                {
                    "row": series.row,
                    "group": series.group or None,
                    "points": [
                        {
                            "commit": point.stop,
                            "file": point.kept.file,
                            "date": point.kept.run.date.isoformat(),
                            "value": point.value,
                            "ci95": point.interval,
                        }
                        for point in series.points
                    ],
                    "lines": [list(line) for line in series.lines],
                }
                for series in self.series
            ],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def trend(name: str, stops: Sequence[Stop], metric_name: str, rows: str = "*", notes: Sequence[str] = ()) -> Trend:
    """A metric over the stops of a history, for the rows that match a pattern; `notes` stand behind its own.

    Raises `UsageError` for a metric that is in none of the reports, and where no row matches or has the metric.
    """
    runs = [kept for stop in stops for kept in stop.runs]
    metric = metric_of(metric_name, runs)
    found: dict[tuple[str, str], list[Point]] = {}
    keys: dict[str, Kept] = {}
    for place, stop in enumerate(stops):
        for kept in stop.runs:
            for row in kept.run.report.rows:
                # The baseline's speed-up is 1 by definition.
                own = metric.name == DEFAULT and row is kept.run.report.baseline
                value = metric.read(row) if row.status is Status.OK and not own else None
                if value is None or not fnmatchcase(row.name, rows):
                    continue
                key = _key(metric, kept, row)
                keys.setdefault(key, kept)
                found.setdefault((row.name, key), []).append(Point(place, kept, *value))
    if not found:
        raise _nothing(name, runs, metric, rows)
    letters = {key: _letter(number) if len(keys) > 1 else "" for number, key in enumerate(keys)}
    series = [Series(row, letters[key], tuple(points), _lines(stops, points)) for (row, key), points in found.items()]
    groups = {letters[key]: _said(metric, kept) for key, kept in keys.items()} if len(keys) > 1 else {}
    series.sort(key=lambda one: (one.row, one.group))
    differences = _differences(metric, list(keys.values()), list(letters.values()))
    return Trend(name, metric, tuple(stops), tuple(series), groups, (*differences, *notes))


def metric_of(name: str, runs: Sequence[Kept]) -> Metric:
    """The metric of that name, of the table or of what the reports have. Raises `UsageError`."""
    measured = {metric.name: metric for metric in METRICS}
    for kept in runs:
        for row in kept.run.report.rows:
            for quality in (row.quality, *row.more):
                if quality is not None:
                    measured.setdefault(quality.metric, _quality(quality))
            for likeness in row.likeness:
                measured.setdefault(likeness, _likeness(likeness))
    if name not in measured:
        raise unknown_name("metric", name, measured)
    return measured[name]


def environment_key(environment: Environment) -> str:
    """What times depend on, as text: equal for environments whose times can be compared."""
    return json.dumps(_machine(environment), sort_keys=True)


def _machine(environment: Environment) -> dict[str, Any]:
    """Field by field; each variable and each runtime's version is one of its own."""
    content = environment.model_dump(mode="json")
    flat = {field: content[field] for field in _MACHINE if field != "variables"}
    flat |= content["variables"]
    return flat | {name: content["versions"][name] for name in RUNTIMES if name in content["versions"]}


def _key(metric: Metric, kept: Kept, row: Row) -> str:
    if metric.holds == "environment":
        return environment_key(kept.run.report.environment)
    if metric.holds == "everywhere":
        return ""
    # Where nobody knows the data, a run is comparable with itself alone.
    return json.dumps([kept.run.validation or kept.file, _images(metric.name, row)])


def _images(metric: str, row: Row) -> int | None:
    """On how many images a metric was measured."""
    qualities = (quality for quality in (row.quality, *row.more) if quality is not None)
    found = next((quality.n for quality in qualities if quality.metric == metric), None)
    return row.likeness[metric].n if found is None and metric in row.likeness else found


def _lines(stops: Sequence[Stop], points: Sequence[Point]) -> tuple[tuple[int, int], ...]:
    """From each stop's last point to those of the nearest stops before it that have one."""
    last = {point.stop: number for number, point in enumerate(points)}
    behind: list[tuple[int, ...]] = []
    for stop in stops:
        reached: dict[int, None] = {}
        for before in stop.before:
            reached |= dict.fromkeys([before] if before in last else behind[before])
        behind.append(tuple(reached))
    return tuple((last[before], number) for stop, number in last.items() for before in behind[stop])


def _letter(number: int) -> str:
    """A, B, … Z, AA, …"""
    first, second = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("A") + second)


def _said(metric: Metric, kept: Kept) -> str:
    if metric.holds == "environment":
        environment = kept.run.report.environment
        versions = [f"{name} {environment.versions[name]}" for name in RUNTIMES if name in environment.versions]
        threads = f"{environment.threads} thread{'s' if environment.threads > 1 else ''}"
        return ", ".join([environment.cpu, threads, *([environment.gpu] if environment.gpu else []), *versions])
    counts = {_images(metric.name, row) for row in kept.run.report.rows} - {None}
    images = "/".join(str(count) for count in sorted(filter(None, counts)))
    return f"validation data {(kept.run.validation or 'not recorded')[:12]}, {images} images"


def _differences(metric: Metric, firsts: Sequence[Kept], letters: Sequence[str]) -> tuple[str, ...]:
    """For each group but the first a sentence that says why it is not compared with that."""
    notes = []
    for kept, letter in zip(firsts[1:], letters[1:], strict=True):
        if metric.holds == "data":
            notes.append(
                f"{letters[0]} and {letter} are not compared: {_said(metric, firsts[0])}, and {_said(metric, kept)}."
            )
            continue
        one, other = (_machine(each.run.report.environment) for each in (firsts[0], kept))
        fields = [field for field in {**one, **other} if one.get(field) != other.get(field)]
        said = "; ".join(f"{field} {_shown(one.get(field))} and {_shown(other.get(field))}" for field in fields)
        notes.append(f"{letters[0]} and {letter} are not compared, as their environments differ: {said}.")
    return tuple(notes)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)


def _nothing(name: str, runs: Sequence[Kept], metric: Metric, rows: str) -> UsageError:
    known = sorted({row.name for kept in runs for row in kept.run.report.rows})
    if not any(fnmatchcase(row, rows) for row in known):
        return UsageError(f"no row of history {name!r} matches {rows!r}: choose among {', '.join(known)}.")
    return UsageError(f"no row of history {name!r} that matches {rows!r} has a {metric.name}: choose another --metric.")


def _percentile(name: Literal["p50", "p90", "p99"]) -> Callable[[Row], tuple[float, Interval | None] | None]:
    def read(row: Row) -> tuple[float, Interval | None] | None:
        value = None if row.latency_ms is None else getattr(row.latency_ms, name)
        if value is None or row.latency_ms is None:
            return None
        return float(value), median_interval(row.latency_ms) if name == "p50" else None

    return read


def median_interval(latency: Latency) -> Interval | None:
    """A 95 % interval of the median from the medians of blocks, whatever their distribution; None of fewer than six.

    Order statistics whose ranks are quantiles of the binomial distribution (Conover, "Practical Nonparametric
    Statistics", 1999, 3.2). It holds the p50 of all runs.
    """
    from scipy import stats

    ordered = sorted(latency.blocks)
    rank = int(stats.binom.ppf(0.025, len(ordered), 0.5)) if ordered else 0
    if rank < 1 or latency.p50 is None:
        return None
    return min(ordered[rank - 1], latency.p50), max(ordered[-rank], latency.p50)


def _speedup(row: Row) -> tuple[float, Interval | None] | None:
    return None if row.speedup is None else (row.speedup.value, row.speedup.ci95)


def _count(field: Literal["size_bytes", "peak_rss_bytes", "parameters"]) -> Callable[[Row], tuple[float, None] | None]:
    def read(row: Row) -> tuple[float, None] | None:
        value = getattr(row, field)
        return None if value is None else (float(value), None)

    return read


def _quality(found: Quality) -> Metric:
    """A metric of accuracy: the interval is that of the difference to the baseline, set upon the baseline's value."""

    def read(row: Row) -> tuple[float, Interval | None] | None:
        qualities = (quality for quality in (row.quality, *row.more) if quality is not None)
        one = next((quality for quality in qualities if quality.metric == found.metric), None)
        if one is None:
            return None
        bounds = one.ci95
        if bounds is None or bounds[0] == bounds[1]:
            return one.value, None
        return one.value, (one.baseline + bounds[0], one.baseline + bounds[1])

    return Metric(found.metric, found.metric, found.smaller, "data", read, _four)


def _likeness(name: str) -> Metric:
    def read(row: Row) -> tuple[float, Interval | None] | None:
        found: Likeness | None = row.likeness.get(name)
        return None if found is None else (found.value, found.ci95)

    # Of a distance less is better, of a similarity more; nothing in a report says which it is.
    return Metric(name, name, smaller=False, holds="data", read=read, shown=_four, directed=False)


def _four(value: float) -> str:
    """Four decimals; of numbers above 1 three digits."""
    return f"{value:.4f}" if abs(value) <= 1 else number(value)


def _times(value: float) -> str:
    return f"{number(value)}×"


def _bytes(value: float) -> str:
    return size(int(value))


def _counted(value: float) -> str:
    return count(int(value))


METRICS: tuple[Metric, ...] = (
    Metric("speedup", "speed-up over the baseline", False, "environment", _speedup, _times),
    Metric("p50", "latency p50, ms", True, "environment", _percentile("p50"), number),
    Metric("p90", "latency p90, ms", True, "environment", _percentile("p90"), number),
    Metric("p99", "latency p99, ms", True, "environment", _percentile("p99"), number),
    Metric("peak_memory", "peak memory, bytes", True, "environment", _count("peak_rss_bytes"), _bytes),
    Metric("size", "size, bytes", True, "everywhere", _count("size_bytes"), _bytes),
    Metric("parameters", "parameters", True, "everywhere", _count("parameters"), _counted),
)
"""What can be followed besides the tasks' own metrics, whose names are those in the reports."""
