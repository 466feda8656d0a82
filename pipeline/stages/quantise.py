"""Stage `quantise`: an fp32 ONNX graph and a calibration set to a graph with explicit Q/DQ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from visiondeploy.calibration.observers import observer_of
from visiondeploy.calibration.schemes import Scheme
from visiondeploy.calibration.settings import CalibrationSettings
from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Array, Split, Task

# 1: scheme `cpu`. 2: the recorded ranges are those that the codes span, zero included.
# 3: a file for each scheme; `left_in_float` says why; residual sums in integers
VERSION = 3
TOOLS = ("onnx", "onnxruntime", "numpy", "pillow")


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

    from visiondeploy.calibration.observe import observe
    from visiondeploy.calibration.placement import tensors_to_observe
    from visiondeploy.calibration.qdq import quantise as insert
    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    observer = observer_of(settings.observer)
    fp32 = onnx.load(source / "model.onnx")
    chosen = settings.choose(len(calibration))
    tensors = tensors_to_observe(fp32)

    def feeds() -> Iterator[Mapping[str, Array]]:
        for number, index in enumerate(chosen):
            yield task.preprocess([calibration[index].image])
            report(number + 1, len(chosen), "images observed")

    statistics = observe(fp32, tensors, feeds(), threads)
    ranges = {name: observer(found, scheme.target) for name, found in statistics.items()}
    result = insert(fp32, ranges, scheme, weight_bits)
    onnx.checker.check_model(result.model)
    save_onnx(result.model, folder / "model.onnx")
    text = json.dumps(
        {
            "schema": "visiondeploy.ranges/1",
            "observer": settings.observer,
            "samples": [calibration[index].name for index in chosen],
            "ranges": {name: [found.low, found.high] for name, found in ranges.items()},
        },
        indent=1,
    )
    (folder / "ranges.json").write_text(text + "\n", encoding="utf-8")
    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference, backend.load(folder, threads) as candidate:
        found = parity(reference, candidate, task, samples)
    return {
        "parity": {"onnx": as_row(found)},
        "weight_bits": weight_bits,
        "images": len(chosen),
        "int8": list(result.int8),
        "left_in_float": dict(result.left_in_float),
    }
