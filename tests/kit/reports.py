"""A report with one row of each kind, and one of a network that was compressed."""

from typing import Any, Literal

from visiondeploy.benchmarks.report.compression import Compression, LayerChange, LayerCost, Variant
from visiondeploy.benchmarks.report.measured import Latency, Speedup
from visiondeploy.benchmarks.report.schema import AgreementRow, Check, Environment, Quality, Report, Row, Verdict
from visiondeploy.types import Outcome, Precision, Status


def environment() -> Environment:
    return Environment(
        cpu="Testor 9000", threads=2, versions={"torch": "2.14.1", "openvino": "2026.4.1"}, isa=("avx2",)
    )


def quality(delta: float, low: float, high: float) -> Quality:
    return Quality(metric="miou", value=0.7 + delta, baseline=0.7, delta=delta, ci95=(low, high), n=101)


def loss(rise: float, low: float, high: float, metric: str = "style_loss") -> Quality:
    """A loss that rose by so many percent of 0.2, with the interval of that."""
    delta, *bounds = (0.002 * percent for percent in (rise, low, high))
    return Quality(
        metric=metric, value=0.2 + delta, baseline=0.2, delta=delta, ci95=tuple(bounds), n=7, part="layer", smaller=True
    )


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


def report(*rows: Row, **fields: Any) -> Report:
    return Report(
        environment=environment(),
        rows=rows or (baseline(), int8(), fp16(), broken(), not_run()),
        verdict=verdict(),
        notes=("quality on camvid/val.",),
        **fields,
    )


# Name, change, parameters, MACs, metric before and after tuning, p50 in ms, the engine's metric.
_NETWORKS = (
    ("dense", "", 31_043_521, 54_700_000_000, None, 0.7021, 348.2, 0.6989),
    ("cut-25", "25 % of channels removed", 17_461_980, 31_100_000_000, 0.6514, 0.7004, 214.9, 0.6981),
    ("cut-50", "50 % of channels removed", 7_760_880, 13_900_000_000, 0.4127, 0.6902, 103.4, 0.6874),
    (
        "cut-50-separable",
        "50 % of channels removed, 9 layers separable",
        2_410_000,
        4_020_000_000,
        0.02,
        0.672,
        62.5,
        0.6655,
    ),
    ("separable", "14 layers separable", 5_912_000, 9_800_000_000, 0.0514, 0.6711, 121.7, 0.6680),
    ("cut-75", "75 % of channels removed", 1_940_220, 3_500_000_000, 0.1213, 0.6402, 38.1, 0.6371),
    (
        "cut-75-separable",
        "75 % of channels removed, 9 layers separable",
        612_000,
        1_010_000_000,
        0.01,
        0.6023,
        27.9,
        0.5988,
    ),
    ("cut-40", "40 % of channels removed", 11_175_600, 19_700_000_000, 0.5233, 0.6931, 141.8, 0.6917),
    (
        "cut-40-late",
        "40 % of channels removed, late layers only",
        12_300_000,
        29_900_000_000,
        0.5611,
        0.6877,
        205.3,
        0.6842,
    ),
)


def layer(
    name: str,
    channels: tuple[int, int],
    kernel: int = 3,
    *,
    groups: int = 1,
    kind: Literal["conv", "transposed", "linear"] = "conv",
    milliseconds: float | None = None,
) -> LayerCost:
    parameters = channels[0] * channels[1] * kernel**2 // groups
    return LayerCost(
        name=name,
        kind=kind,
        in_channels=channels[0],
        out_channels=channels[1],
        kernel=(kernel, kernel),
        groups=groups,
        parameters=parameters,
        macs=parameters * 64**2,
        milliseconds=milliseconds,
    )


def changes() -> tuple[LayerChange, ...]:
    """One layer made separable, one narrower, one removed, one as it was."""
    wide = layer("down.1.conv", (64, 128), milliseconds=8.1)
    halves = (
        layer("down.1.conv.depthwise", (32, 32), groups=32, milliseconds=0.4),
        layer("down.1.conv.pointwise", (32, 48), 1, milliseconds=0.9),
    )
    up = layer("up.0", (128, 64), 2, kind="transposed", milliseconds=2.0)
    narrow = layer("up.0", (48, 32), 2, kind="transposed", milliseconds=0.51)
    head = layer("head", (64, 12), 1, milliseconds=0.3)
    return (
        LayerChange(before=wide, after=halves),
        LayerChange(before=up, after=(narrow,)),
        LayerChange(before=layer("skip", (64, 64), 1, milliseconds=0.2), after=()),
        LayerChange(before=head, after=(head,)),
    )


def variants(count: int = 3) -> tuple[Variant, ...]:
    """Up to nine, each measured in a row of its own name."""
    return tuple(
        Variant(
            name=name,
            change=change,
            parameters=parameters,
            macs=macs,
            row=f"{name}-int8-openvino",
            untuned=untuned,
            tuned=tuned,
            steps=400 if change else 0,
            seconds=730.0 if change else 0.0,
            speed_over_dense=348.2 / p50,
            speed_over_dense_ci95=(340 / p50, 355 / p50),
        )
        for name, change, parameters, macs, untuned, tuned, p50, _ in _NETWORKS[:count]
    )


def compression(**fields: Any) -> Compression:
    """Of the `variants` the last of the first three is chosen."""
    tried = fields.get("variants", variants())
    known = {
        "metric": "miou",
        "backend": "openvino",
        "precision": "int8",
        "variants": tried,
        "chosen": tried[:3][-1].name,
        "layers": changes(),
        "notes": ("channels are removed in steps of 8.",),
    }
    return Compression(**{**known, **fields})


def compressed(count: int = 3, **fields: Any) -> Report:
    """A report whose rows are the baseline and an engine for each variant."""
    rows = [
        row(
            f"{name}-int8-openvino",
            "openvino",
            Precision.INT8,
            parameters=parameters,
            quality=quality(value - 0.7, value - 0.7 - 0.006, value - 0.7 + 0.005),
            latency_ms=Latency(p50=p50, p90=None, p99=None, n=41),
        )
        for name, _, parameters, _, _, _, p50, value in _NETWORKS[:count]
    ]
    made = report(baseline(parameters=31_043_521), *rows)
    return Report.model_validate({**dict(made), "compression": compression(**{"variants": variants(count), **fields})})
