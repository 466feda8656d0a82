"""Stage `mix`: an int8 graph to one with the fewest layers in float with which the metric holds its limit."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.accuracy import compare, quality
from visiondeploy.benchmarks.report.schema import Quality
from visiondeploy.benchmarks.statistics import non_inferior
from visiondeploy.calibration.ranges import parse_ranges
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.pipeline.stages import parity
from visiondeploy.pipeline.stages.quantise import LAYERS_FROM, RANGES, judge_of, parity_with
from visiondeploy.pipeline.stages.sample import Feeds
from visiondeploy.types import Outcome, Sample, Split, Task

# 1: layers alone by SQNR, doubling and halving, then giving back
VERSION = 1
TOOLS = ("onnx", "onnxruntime", "numpy", "scipy", "pillow")


class Part:
    """Some images of a split, as a split."""

    def __init__(self, split: Split, indices: tuple[int, ...]) -> None:
        self._split, self.indices = split, indices
        self.name = split.name

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self._split[self.indices[index]]


def mix(
    source: Path,
    quantised: Path,
    meta: Mapping[str, Any],
    task: Task,
    judged: Split,
    samples: parity.Feeds,
    margin: float,
    scheme: Scheme,
    threads: int,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Write `model.onnx` and `ranges.json`; return what stage `quantise` recorded in `meta`, brought up to date.

    `judged` are the images that the metric is measured on, against the fp32 graph in `source`: the limit holds
    where the interval of the paired difference
    lies above −`margin` points (percent for a loss). `mixed` of the result says what
    was tried. Raises `InputError` where the metric of `judged` is no number.
    """
    import onnx

    from visiondeploy.calibration.equalise import equalise
    from visiondeploy.calibration.rewrite import rewrite
    from visiondeploy.calibration.sensitivity import Subject, fewest_in_float
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    text = (quantised / RANGES).read_bytes()
    ranges = parse_ranges(text, str(quantised / RANGES))
    fp32 = equalise(onnx.load(source / "model.onnx"), ranges.scales)
    subject = Subject(
        rewrite(fp32) if scheme.rewritten else fp32,
        onnx.load(quantised / "model.onnx"),
        ranges.by_tensor,
        scheme,
        int(meta["weight_bits"]),
        tuple(meta["int8"]),
    )
    found: dict[frozenset[str], Quality] = {}
    steps = 0

    def tell(note: str) -> None:
        nonlocal steps
        steps += 1
        report(steps, 0, note)

    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference:

        def holds(layers: frozenset[str]) -> bool:
            with tempfile.TemporaryDirectory(prefix="visiondeploy-") as place:
                save_onnx(subject.keeping(layers).model, Path(place) / "model.onnx")
                with backend.load(Path(place), threads) as candidate:
                    compared = compare(reference, {"int8": candidate}, task, judged)
            found[layers] = quality(task.metrics[0], compared.reference, compared.scores["int8"])
            return non_inferior(found[layers].gain[1], margin) is Outcome.PASS

        few = list(Feeds(task, judged, range(min(LAYERS_FROM, len(judged)))))
        kept = fewest_in_float(subject, judge_of(source, few, threads), holds, tell)
    made = subject.keeping(frozenset(kept.layers))
    onnx.checker.check_model(made.model)
    save_onnx(made.model, folder / "model.onnx")
    (folder / RANGES).write_bytes(text)
    reason = f"kept in float to lose at most {margin:g} {task.metrics[0].unit}"
    left = {
        name: f"{reason} ({kept.alone[name]:.1f} dB alone)" if name in kept.alone else why
        for name, why in made.left_in_float.items()
    }
    return {
        **meta,
        "parity": {"onnx": parity_with(source, folder, task, samples, threads)},
        "int8": list(made.int8),
        "left_in_float": left,
        "mixed": {
            "images": len(judged),
            "split": judged.name,
            "kept_in_float": list(kept.layers),
            "alone_sqnr_db": {name: round(value, 2) for name, value in kept.alone.items() if math.isfinite(value)},
            "tried": [_said(len(one.layers), found.get(one.layers), one.holds) for one in kept.tried],
        },
    }


def _said(layers: int, measured: Quality | None, holds: bool) -> dict[str, Any]:
    """One set as it is recorded; differences of the metric in points, or percent for a loss; below 0 is worse."""
    entry: dict[str, Any] = {"in_float": layers, "holds": holds}
    if measured is not None:
        value, interval = measured.gain
        entry |= {"delta": round(value, 3), "ci95": interval and [round(bound, 3) for bound in interval]}
    return entry
