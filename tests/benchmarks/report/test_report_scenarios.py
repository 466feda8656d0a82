"""Scenarios in the terminal's and the Markdown report."""

from __future__ import annotations

import io

from kit import reports

from visiondeploy.benchmarks.report.markdown import to_markdown
from visiondeploy.benchmarks.report.measured import Latency, Load, Scenario
from visiondeploy.benchmarks.report.schema import Report, Verdict
from visiondeploy.benchmarks.report.terminal import print_report

ANSWERS = Latency(p50=12.5, p90=18.25, p99=None, n=50)
OFFLINE = Scenario(
    name="offline",
    loads=(
        Load(batch=1, per_second=80.04, ci95=(79, 81.5)),
        Load(batch=2, reason="the engine takes batches of 1"),
    ),
    best=0,
)
SERVER = Scenario(
    name="server",
    loads=(
        Load(rate=40, per_second=39.8, latency_ms=ANSWERS, held=True),
        Load(rate=60, per_second=58.0, latency_ms=ANSWERS, held=False),
    ),
    best=0,
    bound_ms=37.5,
    quantile=0.9,
    stopped="precise",
)
STREAMS = Scenario(name="multi-stream", loads=(Load(streams=2, per_second=88, latency_ms=ANSWERS),), best=0)
SLOW = Scenario(name="server", loads=(), reason="4 queries fit into the time, 5 are needed.")


def report() -> Report:
    rows = (
        reports.baseline(scenarios=(SLOW,)),
        reports.int8().model_copy(update={"scenarios": (OFFLINE, SERVER, STREAMS)}),
    )
    return Report(environment=reports.environment(), rows=rows, verdict=Verdict.of(()))


def test_markdown_has_a_section_for_each() -> None:
    text = to_markdown(report())
    assert "## Scenario offline: images in a second, by batch" in text
    assert "| unet-int8-openvino | 80.0<br>\\[79.0, 81.5\\] | – |" in text
    assert "unet-int8-openvino, batch 2: not measured: the engine takes batches of 1" in text
    assert "| unet-int8-openvino | 40.0 | p90 ≤ 37.5 ms | 12.5<br>18.2 / – | found<br>2 rates tried |" in text
    assert "unet-fp32-pytorch: not measured: 4 queries fit into the time, 5 are needed." in text
    assert "2 streams, p50 ms" in text


def test_the_terminal_shows_the_same() -> None:
    stream = io.StringIO()
    print_report(report(), stream)
    text = stream.getvalue()
    for words in (
        "offline: images in a second",
        "80.0",
        "p90 ≤ 37.5 ms",
        "2 rates tried",
        "batches of 1",
        "5 are needed",
    ):
        assert words in text


def test_without_scenarios_there_is_no_section() -> None:
    bare = Report(environment=reports.environment(), rows=(reports.baseline(),), verdict=Verdict.of(()))
    assert "Scenario" not in to_markdown(bare)


def test_they_are_in_the_json() -> None:
    assert Report.from_json(report().to_json()) == report()
