"""Percentiles with intervals from blocks."""

from __future__ import annotations

import pytest
from kit.suites import latency

from visiondeploy.benchmarks.tails import tail, tail_ratio


def test_a_percentile_lies_in_its_interval() -> None:
    found = latency(10)
    estimate = tail(found, 0.9)
    assert estimate is not None
    assert estimate.value == pytest.approx(found.p90)
    assert estimate.ci95[0] <= estimate.value <= estimate.ci95[1]


def test_drift_that_both_share_cancels() -> None:
    before, after = latency(100), latency(50, seed=5)
    ratio, alone = tail_ratio(before, after, 0.9), tail(after, 0.9)
    assert ratio is not None
    assert alone is not None
    assert ratio.value == pytest.approx(2, rel=0.02)
    widths = [(each.ci95[1] - each.ci95[0]) / each.value for each in (ratio, alone)]
    assert widths[0] < widths[1] / 3


@pytest.mark.parametrize("change", [{"raw": ()}, {"blocks": ()}, {"blocks": (1.0,)}, {"blocks": (1.0,) * 7}])
def test_without_runs_by_block_there_is_none(change) -> None:
    assert tail(latency(10).model_copy(update=change), 0.9) is None
    assert tail_ratio(latency(10), latency(10).model_copy(update=change), 0.9) is None
