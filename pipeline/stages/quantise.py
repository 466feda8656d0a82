"""Stage `quantise`: an fp32 ONNX graph and a calibration set to a graph with explicit Q/DQ."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Array, Split, Task

if TYPE_CHECKING:
    import onnx

# 1: scheme `cpu`. 2: the recorded ranges are those that the codes span, zero included.
# 3: a file for each scheme; `left_in_float` says why; residual sums in integers
# 4: the observer and the repairs with the best SQNR
VERSION = 4
TOOLS = ("onnx", "onnxruntime", "numpy", "pillow", "torch")


def quantise(
    source: Path,
    task: Task,
    calibration: Split,
    samples: Feeds,
    settings: CalibrationSettings,
    scheme: Scheme,
    weight_bits: int,
    threads: int,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Write `model.onnx` with Q/DQ and `ranges.json`; return parity with fp32, and why what was left in float was."""
    import onnx

    from visiondeploy.calibration.search import search
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    fp32 = onnx.load(source / "model.onnx")
    chosen = settings.choose(len(calibration))
    images = _Images(task, calibration, chosen, report)
    held_back = [task.preprocess([calibration[index].image]) for index in settings.hold_back(len(calibration))]
    judge = _judge(source, held_back, threads)
    found, judged = search(
        fp32, images, judge, scheme, settings, weight_bits, threads, lambda note: report(0, len(chosen), note)
    )
    onnx.checker.check_model(found.result.model)
    save_onnx(found.result.model, folder / "model.onnx")
    text = json.dumps(
        {
            "schema": "visiondeploy.ranges/1",
            "observer": found.observer,
            "samples": [calibration[index].name for index in chosen],
            "ranges": {name: [span.low, span.high] for name, span in found.ranges.items()},
        },
        indent=1,
    )
    (folder / "ranges.json").write_text(text + "\n", encoding="utf-8")
    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference, backend.load(folder, threads) as candidate:
        agreement = parity(reference, candidate, task, samples)
    return {
        "parity": {"onnx": as_row(agreement)},
        "weight_bits": weight_bits,
        "images": len(chosen),
        "observer": found.observer,
        "repairs": list(found.repairs),
        "sqnr_db": {name: round(value, 2) for name, value in judged.items() if math.isfinite(value)},
        "int8": list(found.result.int8),
        "left_in_float": dict(found.result.left_in_float),
    }


def _judge(source: Path, held_back: Feeds, threads: int) -> Callable[[onnx.ModelProto], float]:
    """The SQNR in dB of a graph's outputs to those of the fp32 graph, which is run once."""
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as session:
        expected = [session.infer(feeds) for feeds in held_back]

    def judge(model: onnx.ModelProto) -> float:
        meter = AgreementMeter()
        with tempfile.TemporaryDirectory(prefix="visiondeploy-") as folder:
            save_onnx(model, Path(folder) / "model.onnx")
            with backend.load(Path(folder), threads) as session:
                for feeds, before in zip(held_back, expected, strict=True):
                    meter.update(before, session.infer(feeds))
        return meter.result().sqnr_db

    return judge


class _Images(Sequence[Mapping[str, Array]]):
    """The calibration images as feeds, each read whenever it is asked for: memory is that of one."""

    def __init__(
        self, task: Task, split: Split, indices: Sequence[int], report: Callable[[int, int, str], None]
    ) -> None:
        self._task, self._split, self._indices, self._report = task, split, indices, report

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: Any) -> Any:
        feeds = self._task.preprocess([self._split[self._indices[place]].image])
        self._report(place + 1, len(self), "images observed")
        return feeds
