"""What tests of TensorRT share: small networks in each precision, and whether its builder is here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from kit import graphs
from kit.pixels import PixelTask
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.tensorrt.device import NoDevice, find_device
from visiondeploy.pipeline.stages.convert import convert
from visiondeploy.types import Precision

RTX = importlib.util.find_spec("tensorrt_rtx") is not None

needs_rtx = pytest.mark.skipif(not RTX, reason="tensorrt-rtx, which builds engines without a GPU, is not installed")
"""For tests that build real engines."""

NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"unet": graphs.unet, "style": graphs.style}

FEEDS = [{"image": np.random.default_rng(seed).normal(size=(1, 3, 32, 32)).astype(np.float32)} for seed in range(2)]


def no_gpu() -> str | None:
    """Why nothing can run on a GPU here; None where it can."""
    try:
        find_device()
    except NoDevice as error:
        return str(error)
    return None if importlib.util.find_spec("pycuda") else "pycuda is not installed"


def save(model: onnx.ModelProto, precision: Precision, folder: Path, scheme: str | None = None) -> Path:
    """A network's graph in a precision as the stages write it for TensorRT, in a folder of its own below `folder`."""
    source, made = folder / "fp32", folder / precision
    source.mkdir(parents=True)
    onnx.save_model(model, source / "model.onnx")
    if precision is Precision.FP32:
        return source
    made.mkdir()
    if precision is Precision.FP16:
        convert(source, PixelTask(), FEEDS, FEEDS, 1, made)
        return made
    chosen = SCHEMES[scheme or ("tensorrt-fp8" if precision is Precision.FP8 else "tensorrt")]
    statistics = observe(model, tensors_to_observe(model), FEEDS, threads=1)
    ranges = {name: min_max(found, chosen.target) for name, found in statistics.items()}
    onnx.save_model(quantise(model, ranges, chosen, 8).model, made / "model.onnx")
    return made
