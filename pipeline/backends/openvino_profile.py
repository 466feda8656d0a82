"""The time of each layer of an OpenVINO engine, as the runtime's own counters have it (`ov::enable_profiling`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from visiondeploy.pipeline.backends.inside import WARMUPS, LayerTime
from visiondeploy.pipeline.backends.openvino_inside import executed, is_inserted
from visiondeploy.pipeline.backends.openvino_session import port
from visiondeploy.types import Array

_MILLISECOND = timedelta(milliseconds=1)


def layer_times(model: Any, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
    """The layers that `model`, which was compiled to be profiled for these feeds, executes, in order."""
    import openvino as ov

    request = model.create_infer_request()
    for name, feed in feeds.items():
        request.set_tensor(port(model.inputs, name), ov.Tensor(np.ascontiguousarray(feed)))
    for _ in range(WARMUPS):
        request.infer(share_outputs=True)
    # In the order of execution. What is fused into another layer is there, too, as not run.
    times: dict[str, list[float]] = {}
    for _ in range(runs):
        request.infer(share_outputs=True)
        for counted in request.profiling_info:
            if counted.status == ov.ProfilingInfo.Status.EXECUTED:
                times.setdefault(counted.node_name, []).append(counted.real_time / _MILLISECOND)
    nodes = {node.get_friendly_name(): node for node in model.get_runtime_model().get_ops()}
    return tuple(
        LayerTime(*executed(nodes[name]), float(np.median(each)), is_inserted(nodes[name]))
        for name, each in times.items()
    )
