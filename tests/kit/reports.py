"""A report with one row of each kind."""

from typing import Any

from visiondeploy.benchmarks.report.schema import (
    AgreementRow,
    Check,
    Environment,
    Latency,
    Quality,
    Report,
    Row,
    Speedup,
    Verdict,
)
from visiondeploy.types import Outcome, Precision, Status


def environment() -> Environment:
    return Environment(
        cpu="Testor 9000", threads=2, versions={"torch": "2.14.1", "openvino": "2026.4.1"}, isa=("avx2",)
    )


def quality(delta: float, low: float, high: float) -> Quality:
    return Quality(metric="miou", value=0.7 + delta, baseline=0.7, delta=delta, ci95=(low, high), n=101)


def row(name: str, backend: str, precision: Precision, **fields: Any) -> Row:
    return Row(name=name, model="unet", backend=backend, precision=precision, **{"status": Status.OK, **fields})


def baseline(**fields: Any) -> Row:
    known = {
        "realised": {"fp32": 27},
        "size_bytes": 124_174_084,
        "peak_rss_bytes": 1_612_000_000,
        "quality": quality(0.0, 0.0, 0.0),
        "latency_ms": Latency(p50=3096.1, p90=None, p99=None, n=21),
        "speedup": Speedup(value=1, ci95=(1, 1)),
    }
    return row("unet-fp32-pytorch", "pytorch", Precision.FP32, **{**known, **fields})


def int8() -> Row:
    return row(
        "unet-int8-openvino",
        "openvino",
        Precision.INT8,
        realised={"int8": 23, "fp32": 4},
        stored={"int8": 23, "fp32": 4},
        size_bytes=31_174_084,
        quality=quality(-0.0031, -0.006, 0.001),
        agreement=AgreementRow(pixels=0.999996, sqnr_db=40.12, max_abs=1.5, mean_abs=0.1, samples=101),
        latency_ms=Latency(p50=348.2, p90=361.9, p99=None, n=41),
        speedup=Speedup(value=8.91, ci95=(8.72, 9.03), blocks=7),
        notes=("calibrated on 64 images.",),
    )


def fp16() -> Row:
    return row(
        "unet-fp16-onnxruntime",
        "onnxruntime",
        Precision.FP16,
        realised={"fp32": 27},
        stored={"fp16": 27},
        agreement=AgreementRow(pixels=1.0, exact=True, max_abs=0.0, mean_abs=0.0, samples=101),
        notes=("converted after calibration.",),
    )


def broken() -> Row:
    return row(
        "unet-int8-broken",
        "openvino",
        Precision.INT8,
        status=Status.FAILED,
        reason="14.8 dB SQNR, expected at least 25 dB.",
        agreement=AgreementRow(pixels=0.65, finite=False, samples=8),
    )


def not_run() -> Row:
    return row(
        "unet-int8-tensorrt",
        "tensorrt",
        Precision.INT8,
        status=Status.NOT_RUN,
        reason="tensorrt is not installed: pip install 'visiondeploy[tensorrt]'.",
    )


def verdict() -> Verdict:
    return Verdict.of(
        [
            Check(name="quality", limit="Δ ≥ −0.01", found="−0.0031 [−0.0060, +0.0010]", status=Outcome.PASS),
            Check(name="speed-up", limit="≥ 9×", found="8.91 [8.72, 9.03]", status=Outcome.INCONCLUSIVE),
            Check(name="parity", limit="SQNR ≥ 25 dB", found="14.8 dB", status=Outcome.FAIL),
        ]
    )


def report(*rows: Row) -> Report:
    return Report(
        environment=environment(),
        rows=rows or (baseline(), int8(), fp16(), broken(), not_run()),
        verdict=verdict(),
        notes=("quality on camvid/val.",),
    )
