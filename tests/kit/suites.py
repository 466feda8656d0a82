"""Suites and what is judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kit import reports
from visiondeploy.benchmarks.report.measured import Latency, Speedup
from visiondeploy.benchmarks.report.schema import AgreementRow, Report, Row
from visiondeploy.benchmarks.samples import Samples
from visiondeploy.benchmarks.suite import Suite
from visiondeploy.types import Array, Metric, Precision

IMAGES = 40
CLASSES = ("road", "car")


def suite(*limits: Mapping[str, Any], **more: Any) -> Suite:
    return Suite.model_validate({"schema": "visiondeploy.suite/1", "name": "mine", "limits": tuple(limits), **more})


def _shares(rows: Array) -> Array:
    return rows.reshape(-1, len(CLASSES)).mean(axis=0)


METRIC = Metric(
    "miou",
    lambda rows: float(_shares(rows).mean()),
    lambda rows: dict(zip(CLASSES, map(float, _shares(rows)), strict=True)),
)
"""The mean over classes of values that each image has of each class."""


def scores(road: float, car: float, noise: float = 0.002, seed: int = 0) -> Array:
    """Values of both classes of each image, whose means are as given; images are alike in all that is made so."""
    rng, own = np.random.default_rng(7), np.random.default_rng(seed)
    found = np.array([road, car]) + rng.normal(0, 0.1, (IMAGES, 2)) + own.normal(0, noise, (IMAGES, 2))
    return found - found.mean(axis=0) + np.array([road, car])


def samples(rows: Mapping[str, Array], validation: str = "a" * 64) -> Samples:
    return Samples(tuple(f"image-{number}" for number in range(IMAGES)), validation, "{}", dict(rows))


def latency(milliseconds: float, runs: int = 12, blocks: int = 20, noise: float = 0.01, seed: int = 0) -> Latency:
    """Runs in blocks, the drift of which is the same for all that is made so."""
    from visiondeploy.benchmarks.statistics import percentiles

    drift = 1 + np.random.default_rng(3).normal(0, 0.1, (blocks, 1))
    own = np.exp(np.random.default_rng(seed).normal(0, noise, (blocks, runs)))
    times = milliseconds * drift * own
    found = percentiles(times.ravel())
    return Latency(
        p50=found.p50,
        p90=found.p90,
        p99=found.p99,
        n=found.n,
        raw=tuple(times.ravel()),
        blocks=tuple(np.median(times, axis=1)),
    )


def row(name: str, milliseconds: float, rows: Array, base: Array, **fields: Any) -> Row:
    """An int8 engine of OpenVINO beside a baseline of 100 ms."""
    from visiondeploy.benchmarks.accuracy import quality
    from visiondeploy.benchmarks.statistics import paired_ratio

    own = latency(milliseconds, seed=len(name))
    ratio = paired_ratio(latency(100).blocks, own.blocks)
    known = {
        "quality": None if "quality" in fields else quality(METRIC, base, rows, resamples=500),
        "latency_ms": own,
        "speedup": Speedup(value=ratio.value, ci95=ratio.ci95, blocks=ratio.n),
        "agreement": AgreementRow(pixels=0.995, sqnr_db=35.0, samples=IMAGES),
        "size_bytes": 2_000_000,
        "peak_rss_bytes": 150_000_000,
        "realised": {"int8": 22, "fp32": 1},
    }
    return reports.row(name, fields.pop("backend", "openvino"), Precision.INT8, **{**known, **fields})


def report(*rows: Row, base: Array | None = None, **fields: Any) -> Report:
    """A baseline of 100 ms and the rows."""
    from visiondeploy.benchmarks.accuracy import quality

    own = scores(0.9, 0.7) if base is None else base
    first = reports.baseline(
        latency_ms=latency(100), quality=quality(METRIC, own, own, resamples=100), size_bytes=8_000_000
    )
    made = reports.report(first, *rows)
    return made.model_copy(update=fields)
