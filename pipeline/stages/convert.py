"""Stage `convert`: an fp32 ONNX graph to one whose weights and arithmetic are float16.

Normalisations, softmax and reductions over space stay in float32: their sums pass float16's 65504 or
lose the small terms (instance norm of style networks: onnxruntime#10079). Inputs and outputs stay float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visiondeploy.pipeline.stages.parity import Feeds, as_row, parity
from visiondeploy.types import Task

# 1: onnxruntime.transformers.float16 with norms, softmax and reductions blocked
VERSION = 1
TOOLS = ("onnx", "onnxruntime", "pillow")

KEPT_IN_FP32 = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "ReduceMean",
    "ReduceSum",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "Softmax",
    "LogSoftmax",
)


def convert(source: Path, task: Task, samples: Feeds, threads: int, folder: Path) -> dict[str, Any]:
    """Write `model.onnx` in float16; return its parity with the fp32 graph and what was kept in fp32."""
    import onnx
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    from visiondeploy.pipeline.backends.table import BACKENDS
    from visiondeploy.pipeline.stages.export import save_onnx

    fp32 = onnx.load(source / "model.onnx")
    model = float16.convert_float_to_float16(
        fp32,
        keep_io_types=True,
        # The source's inferred shapes are of the fp32 graph; the converter infers anew.
        disable_shape_infer=False,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FP32],
    )
    # The converter puts its casts at the end of the list of nodes.
    sorted_model = OnnxModel(model)
    sorted_model.topological_sort()
    model = sorted_model.model
    onnx.checker.check_model(model)
    save_onnx(model, folder / "model.onnx")
    backend = BACKENDS["onnxruntime"]
    with backend.load(source, threads) as reference, backend.load(folder, threads) as candidate:
        found = parity(reference, candidate, task, samples)
    kept = sorted({node.op_type for node in model.graph.node} & set(KEPT_IN_FP32))
    return {"parity": {"onnx": as_row(found)}, "kept_in_fp32": kept}
