"""Reports with all that a report can hold: nine engines that segment, and engines that paint."""

from __future__ import annotations

import numpy as np

from visiondeploy.benchmarks.report.measured import (
    Latency,
    LayerShare,
    LayerTiming,
    Likeness,
    Load,
    Noise,
    Scenario,
    Speedup,
    shares,
)
from visiondeploy.benchmarks.report.schema import (
    AgreementRow,
    Check,
    ClassQuality,
    Environment,
    Quality,
    Report,
    Row,
    Verdict,
)
from visiondeploy.types import Outcome, Precision, Status

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
_MIOU = (0.921, 0.801, 0.284, 0.934, 0.772, 0.803, 0.312, 0.274, 0.822, 0.458, 0.391)

# Backend, precision, p50 in ms, bytes, change of mIoU in points, layers by type.
_ENGINES = (
    ("pytorch", Precision.FP32, 244.0, 7_790_000, 0.0, {"fp32": 23}),
    ("torchscript", Precision.FP32, 221.0, 7_820_000, 0.0, {"fp32": 23}),
    ("onnxruntime", Precision.FP32, 117.0, 7_780_000, -0.001, {"fp32": 23}),
    ("openvino", Precision.FP32, 104.0, 7_900_000, 0.0, {"fp32": 23}),
    ("onnxruntime", Precision.FP16, 112.0, 3_900_000, -0.02, {"fp32": 23}),
    ("openvino", Precision.FP16, 105.5, 4_020_000, -0.01, {"fp32": 23}),
    ("onnxruntime", Precision.INT8, 48.0, 2_030_000, -0.28, {"int8": 22, "fp32": 1}),
    ("openvino", Precision.INT8, 33.4, 2_420_000, -0.17, {"int8": 23}),
)


def environment() -> Environment:
    return Environment(
        cpu="Testor 9000 16-Core",
        threads=2,
        versions={"torch": "2.14.1", "onnxruntime": "1.32.0", "openvino": "2026.4.1", "numpy": "2.4.6"},
        machine="x86_64",
        cores_physical=1,
        cores_logical=2,
        cores_available=2,
        isa=("avx2", "avx512f", "avx512_vnni"),
        virtual=True,
        memory_bytes=8_200_000_000,
        os="Debian GNU/Linux 12",
        kernel="6.1.0",
        python="3.11.2",
        variables={"OMP_NUM_THREADS": "2"},
    )


def timed(p50: float, seed: int, runs: int = 120, per_block: int = 8) -> Latency:
    """Runs with the tail that a shared machine gives, the later ones a little slower."""
    rng = np.random.default_rng(seed)
    raw = p50 * (1 + np.abs(rng.gamma(1.6, 0.022, runs)) - 0.03) * np.linspace(0.995, 1.01, runs)
    raw[rng.choice(runs, 3, replace=False)] *= 1.4
    blocks = np.median(raw.reshape(-1, per_block), axis=1)
    return Latency(
        p50=float(np.percentile(raw, 50)),
        p90=float(np.percentile(raw, 90)),
        p99=None,
        n=runs,
        raw=tuple(map(float, raw)),
        warmups=6,
        blocks=tuple(map(float, blocks)),
        stopped="precise",
    )


def miou(change: float, seed: int) -> Quality:
    """With every class; `change` in points."""
    rng = np.random.default_rng(seed)
    moved = np.where(change, rng.normal(change, abs(change) + 0.02, len(CLASSES)), 0.0) / 100
    per_class = {
        name: ClassQuality(value=float(base + by), baseline=base)
        for name, base, by in zip(CLASSES, _MIOU, moved, strict=True)
    }
    baseline = float(np.mean(_MIOU))
    delta = change / 100
    return Quality(
        metric="miou",
        value=baseline + delta,
        baseline=baseline,
        delta=(baseline + delta) - baseline,
        ci95=(delta - abs(delta) * 0.8 - 1e-5, delta + abs(delta) * 0.7 + 1e-5),
        n=101,
        per_class=per_class,
    )


def scenarios(p50: float) -> tuple[Scenario, ...]:
    rate = 1000 / p50
    offline = tuple(
        Load(batch=batch, per_second=rate * gain, ci95=(rate * gain * 0.97, rate * gain * 1.03))
        for batch, gain in ((1, 1.0), (2, 1.12), (4, 1.2), (8, 1.17))
    )
    server = tuple(
        Load(rate=rate * load, per_second=rate * load, latency_ms=timed(p50 * waits, 5), held=waits < 3)
        for load, waits in ((0.4, 1.1), (0.6, 1.5), (0.8, 2.6), (0.9, 5.1))
    )
    return (
        Scenario(name="single-stream", loads=(Load(per_second=rate, latency_ms=timed(p50, 3)),), best=0),
        Scenario(name="multi-stream", loads=(Load(streams=2, reason="two callers do not fit two threads."),)),
        Scenario(name="offline", loads=offline, best=2, stopped="precise"),
        Scenario(name="server", loads=server, best=2, bound_ms=p50 * 4, quantile=0.9),
    )


def profile(p50: float, precision: Precision) -> tuple[LayerShare, ...]:
    rng = np.random.default_rng(4)
    layers = [(f"down.{n // 2}.conv{n % 2}", "Convolution", precision.value, float(rng.gamma(2, 1))) for n in range(10)]
    layers += [(f"up.{n}", "ConvTranspose", precision.value, float(rng.gamma(1.5, 1))) for n in range(4)]
    layers += [(f"reorder.{n}", "Reorder", "fp32", float(rng.gamma(1, 0.3))) for n in range(3)]
    layers.append(("head", "Convolution", precision.value, 0.4))
    total = sum(ms for *_, ms in layers)
    return shares([LayerTiming(name, kind, compute, ms / total * p50) for name, kind, compute, ms in layers])


def engines() -> Report:
    """Nine rows, one of which was not run, with all that was measured over time."""
    rows = [_row(number, *engine) for number, engine in enumerate(_ENGINES)]
    rows.append(
        Row(
            name="unet-camvid-int8-tensorrt-rtx",
            model="unet-camvid",
            backend="tensorrt-rtx",
            precision=Precision.INT8,
            status=Status.NOT_RUN,
            reason="the plan is for sm_86, and there is no CUDA device.",
            realised={"int8": 22, "fp32": 1},
            size_bytes=2_610_000,
        )
    )
    checks = [
        Check(
            name=f"{row.name}: miou",
            limit="at most 0.5 points below the baseline",
            found=f"{row.quality.delta * 100:+.2f} points",
            status=Outcome.PASS,
            p_value=0.0004,
        )
        for row in rows[1:]
        if row.quality is not None
    ]
    checks.append(
        Check(
            name="unet-camvid-int8-onnxruntime: speed-up",
            limit="at least 6×",
            found="5.08×, 95 % interval 4.81 to 5.22",
            status=Outcome.FAIL,
        )
    )
    checks.append(
        Check(
            name="unet-camvid-int8-openvino: worst class (bicyclist)",
            limit="at most 1 point below the baseline",
            found="−0.61 points, 95 % interval −1.24 to +0.05",
            status=Outcome.INCONCLUSIVE,
            needed="about 340 images",
        )
    )
    return Report(
        environment=environment(),
        rows=tuple(rows),
        verdict=Verdict.of(checks),
        notes=("quality on folder:camvid, split val.",),
        noise=Noise(value=1.002, ci95=(0.991, 1.013), blocks=15, spread=0.021),
    )


def _row(
    number: int, backend: str, precision: Precision, p50: float, size: int, change: float, kinds: dict[str, int]
) -> Row:
    baseline = number == 0
    ratio = _ENGINES[0][2] / p50
    half = precision is Precision.FP16
    return Row(
        name=f"unet-camvid-{precision.value}-{backend}",
        model="unet-camvid",
        backend=backend,
        precision=precision,
        status=Status.OK,
        realised=kinds,
        stored={"fp16": 23} if half else kinds,
        parameters=1_947_000,
        size_bytes=size,
        peak_rss_bytes=703_000_000 if baseline else 150_000_000 + size * 5,
        quality=miou(change, number),
        agreement=AgreementRow(pixels=1.0, exact=True, max_abs=0.0, mean_abs=0.0, samples=101)
        if baseline
        else AgreementRow(pixels=1 + change / 60, sqnr_db=38.8 if change < -0.1 else 134.5, samples=101),
        latency_ms=timed(p50, number),
        speedup=Speedup(value=1, ci95=(1, 1))
        if baseline
        else Speedup(value=ratio, ci95=(ratio * 0.95, ratio * 1.03), blocks=15),
        scenarios=scenarios(p50) if backend in {"openvino", "onnxruntime"} and not half else (),
        profile=profile(p50, precision) if backend == "openvino" and not half else (),
        surprises=("this CPU has no fast half precision: 23 layers are stored in fp16 and computed in fp32",)
        if half
        else (),
    )


def painters() -> Report:
    """Losses, of which less is better, by layer; and how like the baseline's the pictures are."""
    found = (
        ("pytorch", Precision.FP32, 585.0, 0.0, 1.0),
        ("openvino", Precision.FP32, 517.0, -0.01, 1.0),
        ("openvino", Precision.INT8, 118.0, -1.58, 0.9909),
        ("onnxruntime", Precision.INT8, 191.0, 3.75, 0.9439),
    )
    rows = tuple(_painter(number, *one) for number, one in enumerate(found))
    checks = [
        Check(name=f"{rows[2].name}: style_loss", limit="rises by at most 3 %", found="−1.58 %", status=Outcome.PASS),
        Check(name=f"{rows[2].name}: ssim", limit="at least 0.95", found="0.9909", status=Outcome.PASS),
    ]
    return Report(environment=environment(), rows=rows, verdict=Verdict.of(checks))


def _loss(metric: str, base: float, percent: float, *, judged: bool = True) -> Quality:
    delta = base * percent / 100
    layers = {"relu1_1": 0.011, "relu2_1": 0.07, "relu3_1": 0.14, "relu4_1": 0.17, "relu5_1": 0.37}
    return Quality(
        metric=metric,
        value=base + delta,
        baseline=base,
        delta=(base + delta) - base,
        ci95=(delta - abs(delta) * 0.2 - 1e-6, delta + abs(delta) * 0.2 + 1e-6),
        n=12,
        per_class={
            name: ClassQuality(value=value * (1 + percent * (2 - at) / 200), baseline=value)
            for at, (name, value) in enumerate(layers.items())
        },
        part="layer",
        smaller=True,
        judged=judged,
    )


def _painter(number: int, backend: str, precision: Precision, p50: float, percent: float, ssim: float) -> Row:
    ratio = 585.0 / p50
    return Row(
        name=f"style-{precision.value}-{backend}",
        model="style",
        backend=backend,
        precision=precision,
        status=Status.OK,
        realised={precision.value: 16},
        size_bytes=6_720_000 if precision is Precision.FP32 else 2_410_000,
        quality=_loss("style_loss", 0.1084, percent),
        more=(_loss("content_loss", 1.0778, -percent / 3).model_copy(update={"per_class": {}}),),
        likeness={"ssim": Likeness(value=ssim, ci95=(ssim - 0.001, min(1.0, ssim + 0.001)), n=12)} if number else {},
        agreement=AgreementRow(sqnr_db=33.5, samples=12) if number else AgreementRow(exact=True, samples=12),
        latency_ms=timed(p50, number, runs=24, per_block=4),
        speedup=Speedup(value=1, ci95=(1, 1)) if not number else Speedup(value=ratio, ci95=(ratio * 0.9, ratio * 1.1)),
    )
