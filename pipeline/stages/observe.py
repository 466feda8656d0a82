"""Stage `observe`: an fp32 ONNX graph and a calibration set to statistics, which serve every scheme and observer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from visiondeploy.calibration.observation import Observation, load_observation, save_observation
from visiondeploy.pipeline.stages.sample import CalibrationSet, Feeds
from visiondeploy.types import Split, Task

# 1: histograms and extremes by channel, of the graph as it is and equalised
VERSION = 1
TOOLS = ("onnx", "onnxruntime", "numpy", "pillow")

STATISTICS = "statistics.safetensors"
EQUALISED = "equalised.safetensors"


def observe(
    source: Path,
    task: Task,
    split: Split,
    chosen: CalibrationSet,
    equalise: bool,
    threads: int,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Write the statistics of the graph in `source` and, with `equalise`, those of the equalised one.

    Raises `InputError` where a tensor's values are not finite.
    """
    import onnx

    from visiondeploy.calibration import equalise as equalising
    from visiondeploy.calibration.observe import observe as run
    from visiondeploy.calibration.placement import tensors_to_observe

    fp32 = onnx.load(source / "model.onnx")
    watched = tensors_to_observe(fp32)
    more = equalising.tensors_to_equalise(fp32) if equalise else ()

    def feeds(note: str) -> Feeds:
        return Feeds(task, split, chosen.images, lambda done, total: report(done, total, note))

    seen = run(fp32, tuple(dict.fromkeys((*watched, *more))), feeds("images observed"), threads)
    save_observation(Observation(seen), folder / STATISTICS)
    scales = equalising.equalising_scales(fp32, seen) if equalise else {}
    if scales:
        model = equalising.equalise(fp32, scales)
        again = run(model, watched, feeds("images observed once more, channels equalised"), threads)
        save_observation(Observation(again, scales), folder / EQUALISED)
    return {"images": len(chosen.images), "tensors": len(watched), "equalised": sorted(scales)}


def observations(folder: Path) -> list[Observation]:
    """What the stage wrote: of the graph as it is, then of the equalised one where there is one."""
    return [load_observation(path) for name in (STATISTICS, EQUALISED) if (path := folder / name).exists()]
