"""Two runs of the same engines as one, and runs that are not of the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kit import reports

from visiondeploy.benchmarks.latency import noise_of
from visiondeploy.benchmarks.merge import merged
from visiondeploy.benchmarks.report.measured import Activity, Latency, Speedup
from visiondeploy.benchmarks.report.schema import Report, Row, Verdict
from visiondeploy.benchmarks.statistics import paired_ratio, percentiles
from visiondeploy.errors import EnvironmentMismatch, InputError


def timed(row: Row, baseline: list[float], blocks: list[float], **fields: Any) -> Row:
    """A row with blocks of three runs each."""
    raw = tuple(float(block) for block in blocks for _ in range(3))
    found = percentiles(raw)
    latency = Latency(p50=found.p50, p90=found.p90, p99=found.p99, n=found.n, raw=raw, blocks=tuple(blocks), warmups=9)
    ratio = paired_ratio(baseline, blocks)
    speedup = Speedup(value=ratio.value, ci95=ratio.ci95, blocks=ratio.n)
    return row.model_copy(update={"latency_ms": latency, "speedup": speedup, **fields})


def run(baseline: list[float], candidate: list[float], **fields: Any) -> Report:
    rows = timed(reports.baseline(), baseline, baseline), timed(reports.int8(), baseline, candidate)
    noise = noise_of([1.01, 0.99, *[1.0] * (len(baseline) - 2)])
    known: dict[str, Any] = {
        "environment": reports.environment(),
        "rows": rows,
        "verdict": Verdict.of(()),
        "noise": noise,
    }
    return Report(**{**known, **fields})


ONE = run([30, 31, 32], [10, 10, 11])
OTHER = run([33, 30, 29, 30], [11, 10, 10, 9])


class TestMerged:
    def test_is_as_if_it_had_been_one_run(self) -> None:
        found, whole = merged(ONE, OTHER), run([30, 31, 32, 33, 30, 29, 30], [10, 10, 11, 11, 10, 10, 9])
        for row, expected in zip(found.rows, whole.rows, strict=True):
            assert row.speedup == expected.speedup
            assert row.latency_ms.blocks == expected.latency_ms.blocks
            assert row.latency_ms.raw == expected.latency_ms.raw
            assert (row.latency_ms.p50, row.latency_ms.p90) == (expected.latency_ms.p50, expected.latency_ms.p90)
            assert row.latency_ms.n == len(row.latency_ms.raw) == 21
        assert found.rows[0].speedup.value == 1
        assert found.noise.blocks == 7
        assert found.noise.ratios == (*ONE.noise.ratios, *OTHER.noise.ratios)

    def test_more_blocks_narrow_the_interval(self) -> None:
        def width(report: Report) -> float:
            return float(np.subtract(*report.rows[1].speedup.ci95[::-1]))

        assert width(merged(merged(ONE, OTHER), ONE)) < width(ONE)

    def test_holds_the_contract_and_says_what_was_done(self) -> None:
        found = merged(ONE, OTHER)
        assert Report.from_json(found.to_json()) == found
        assert "pooled: 3 blocks of an earlier run and 4 of this one." in found.notes

    def test_load_is_that_of_both(self) -> None:
        def busy(report: Report, seconds: float, others: float) -> Report:
            activity = Activity(seconds=seconds, others=others, load=(others, others))
            machine = report.environment.model_copy(update={"activity": activity})
            return report.model_copy(update={"environment": machine})

        found = merged(busy(ONE, 30, 0.0), busy(OTHER, 10, 1.0)).environment.activity
        assert (found.seconds, found.others, found.stolen, found.load) == (40, 0.25, None, (0.0, 1.0))


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"cpu": "Other 1"}, "cpu Testor 9000 and Other 1"),
            ({"threads": 4}, "threads 2 and 4"),
            ({"versions": {"torch": "2.14.1", "openvino": "2027.0"}}, "openvino 2026.4.1 and 2027.0"),
            ({"variables": {"OMP_NUM_THREADS": "1"}}, "OMP_NUM_THREADS none and 1"),
            ({"affinity": (0, 1)}, "affinity  and 0, 1"),
            ({"governor": "powersave"}, "governor none and powersave"),
            ({"isa": ("avx2", "avx512f")}, "isa avx2 and avx2, avx512f"),
            ({"allocator": "jemalloc"}, "allocator none and jemalloc"),
        ],
    )
    def test_another_environment(self, change, words) -> None:
        other = OTHER.model_copy(update={"environment": reports.environment().model_copy(update=change)})
        with pytest.raises(EnvironmentMismatch, match=words):
            merged(ONE, other)

    def test_the_first_differences_are_named_and_the_others_counted(self) -> None:
        change = {"cpu": "Other 1", "threads": 4, "turbo": True, "os": "Plan 9", "python": "4.0"}
        other = OTHER.model_copy(update={"environment": reports.environment().model_copy(update=change)})
        with pytest.raises(EnvironmentMismatch, match=r"threads 2 and 4; .*; and 2 more\."):
            merged(ONE, other)

    def test_what_is_of_a_run_alone_may_differ(self) -> None:
        busy = Activity(seconds=1, others=2)
        other = OTHER.model_copy(update={"environment": reports.environment().model_copy(update={"activity": busy})})
        assert merged(ONE, other).rows[1].latency_ms.n == 21

    @pytest.mark.parametrize("field", ["digest", "size_bytes", "parameters", "model"])
    def test_another_engine(self, field) -> None:
        row = OTHER.rows[1].model_copy(update={field: "other" if field in ("digest", "model") else 1})
        with pytest.raises(InputError, match=f"unet-int8-openvino {field} .* Bench the same builds again"):
            merged(ONE, OTHER.model_copy(update={"rows": (OTHER.rows[0], row)}))

    def test_other_rows(self) -> None:
        with pytest.raises(InputError, match="rows unet-fp32-pytorch, unet-int8-openvino and unet-fp32-pytorch"):
            merged(ONE, OTHER.model_copy(update={"rows": OTHER.rows[:1]}))

    def test_another_way_of_measuring(self) -> None:
        rows = [
            row.model_copy(update={"latency_ms": row.latency_ms.model_copy(update={"isolated": True})})
            for row in OTHER.rows
        ]
        with pytest.raises(EnvironmentMismatch, match="in a process of its own False and True"):
            merged(ONE, OTHER.model_copy(update={"rows": tuple(rows)}))

    def test_a_report_without_raw_values(self) -> None:
        bare = ONE.rows[0].model_copy(update={"latency_ms": Latency(p50=1, p90=None, p99=None, n=9)})
        with pytest.raises(InputError, match="raw values of unet-fp32-pytorch are not in the report"):
            merged(ONE.model_copy(update={"rows": (bare, ONE.rows[1])}), OTHER)
