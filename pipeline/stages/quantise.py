"""Stage `quantise`: an fp32 ONNX graph and what was observed of it to a graph with explicit Q/DQ."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.calibration.observation import Observation
from visiondeploy.calibration.ranges import CalibrationData, NetworkKey, Ranges
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.pipeline.stages import parity
from visiondeploy.pipeline.stages.sample import CalibrationSet, Feeds
from visiondeploy.types import Split, Task

if TYPE_CHECKING:
    import onnx

# 1: scheme `cpu`. 2: the recorded ranges are those that the codes span, zero included.
# 3: a file for each scheme; `left_in_float` says why; residual sums in integers
# 4: the observer and the repairs with the best SQNR
# 5: from the statistics of stage `observe`; the SQNR of each layer
# 6: branches of a Concat are rounded once for OpenVINO; shuffles with channels last for ONNX Runtime
# 7: exact rewrites of resizes, transposed convolutions and those to few channels; borders in codes, norms in float
VERSION = 7
TOOLS = ("onnx", "onnxruntime", "numpy", "pillow", "torch")

RANGES = "ranges.json"

LAYERS_FROM = 2
"""On how many of the images held back the layers' SQNR is measured: it is to find the worst, not to judge."""


def quantise(
    source: Path,
    task: Task,
    split: Split,
    chosen: CalibrationSet,
    known: Sequence[Observation] | Ranges,
    key: NetworkKey,
    data: CalibrationData,
    samples: parity.Feeds,
    settings: CalibrationSettings,
    scheme: Scheme,
    weight_bits: int,
    threads: int,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Write `model.onnx` with Q/DQ and `ranges.json`; return parity with fp32, and why what was left in float was."""
    import numpy as np
    import onnx

    from visiondeploy.calibration.layers import layer_sqnr
    from visiondeploy.calibration.search import search
    from visiondeploy.pipeline.stages.export import save_onnx

    fp32 = onnx.load(source / "model.onnx")
    held_back = list(Feeds(task, split, chosen.held_back))
    found, judged = search(
        fp32,
        known,
        Feeds(task, split, chosen.images),
        judge_of(source, held_back, threads),
        scheme,
        settings,
        weight_bits,
        threads,
        report,
    )
    onnx.checker.check_model(found.result.model)
    save_onnx(found.result.model, folder / "model.onnx")
    ranges = Ranges(
        network=key,
        data=data,
        observer=found.observer,
        codes=scheme.target.code,
        channel_scales={tensor: tuple(np.atleast_2d(scale)[0].tolist()) for tensor, scale in found.scales.items()},
        channel_centres={tensor: tuple(scale[1].tolist()) for tensor, scale in found.scales.items() if scale.ndim > 1},
        seen=dict(found.seen),
        ranges={tensor: (span.low, span.high) for tensor, span in found.ranges.items()},
    )
    (folder / RANGES).write_text(ranges.to_json(), encoding="utf-8")
    layers = layer_sqnr(found.fp32, found.result.model, held_back[:LAYERS_FROM], threads)
    return {
        "parity": {"onnx": parity_with(source, folder, task, samples, threads)},
        "weight_bits": weight_bits,
        "images": len(chosen.images),
        "observer": found.observer,
        "repairs": list(found.repairs),
        "sqnr_db": {name: round(value, 2) for name, value in judged.items() if math.isfinite(value)},
        "layer_sqnr_db": {name: round(value, 2) for name, value in layers.items() if math.isfinite(value)},
        "int8": list(found.result.int8),
        "left_in_float": dict(found.result.left_in_float),
    }


def parity_with(source: Path, folder: Path, task: Task, samples: parity.Feeds, threads: int) -> dict[str, Any]:
    """How the graph in `folder` agrees with the one in `source`, both in ONNX Runtime, as a report's row."""
    from visiondeploy.pipeline.backends.table import BACKENDS

    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference, backend.load(folder, threads) as candidate:
        return parity.as_row(parity.parity(reference, candidate, task, samples))


def judge_of(source: Path, held_back: parity.Feeds, threads: int) -> Callable[[onnx.ModelProto], float]:
    """The SQNR in dB of a graph's outputs to those of the fp32 graph in `source`, which is run once."""
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as session:
        # Copies, since the runtime lends what it returns: with it all memory of the float network would stay.
        expected = [{name: value.copy() for name, value in session.infer(feeds).items()} for feeds in held_back]

    def judge(model: onnx.ModelProto) -> float:
        meter = AgreementMeter()
        with tempfile.TemporaryDirectory(prefix="visiondeploy-") as folder:
            save_onnx(model, Path(folder) / "model.onnx")
            with backend.load(Path(folder), threads) as session:
                for feeds, before in zip(held_back, expected, strict=True):
                    meter.update(before, session.infer(feeds))
        return meter.result().sqnr_db

    return judge
