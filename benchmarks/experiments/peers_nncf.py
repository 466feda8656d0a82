"""What runs in NNCF's own environment: quantise a model with `nncf.quantize` as it comes.

    python peers_nncf.py onnx|openvino MODEL FEEDS.npz TARGET

FEEDS holds an array N×… for each input of the model, an item at a time of which is one calibration sample.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nncf  # type: ignore[import-not-found]  # in its own environment
import numpy as np


def quantised(model: Any, feeds: Path) -> Any:
    """The model quantised by NNCF's defaults, on all samples."""
    with np.load(feeds) as found:
        arrays = {name: found[name] for name in found.files}
    count = len(next(iter(arrays.values())))
    samples = [{name: array[number : number + 1] for name, array in arrays.items()} for number in range(count)]
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=count)


def main(kind: str, model: Path, feeds: Path, target: Path) -> None:
    """Read with the runtime that the model is of, quantise, write."""
    if kind == "onnx":
        import onnx

        onnx.save_model(quantised(onnx.load(model), feeds), target)
    else:
        import openvino as ov

        ov.save_model(quantised(ov.Core().read_model(model), feeds), target, compress_to_fp16=False)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
