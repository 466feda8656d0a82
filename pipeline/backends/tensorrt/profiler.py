"""The time of each layer of an engine, as TensorRT tells an `IProfiler` (TensorRT Developer Guide, "Profiling")."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from visiondeploy.pipeline.backends.inside import LayerTime
from visiondeploy.pipeline.backends.tensorrt.layers import UNKNOWN, widest
from visiondeploy.pipeline.backends.tensorrt.sidecar import LayerTypes, Sidecar
from visiondeploy.types import Layer


def profiler(trt: Any) -> Any:
    """An `IProfiler` that keeps the times of runs: `runs` has for each one the milliseconds of layers, in order."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        """TensorRT keeps no reference to it: whoever hands it over holds it."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.runs: list[list[tuple[str, float]]] = []

        def begin(self) -> None:
            """What is reported from now on is of another run."""
            self.runs.append([])

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """Called by TensorRT, once for each layer of a run; it must not raise."""
            if self.runs:
                self.runs[-1].append((layer_name, ms))

    return Profiler()


def layer_times(runs: Sequence[Sequence[tuple[str, float]]], sidecar: Sidecar) -> tuple[LayerTime, ...]:
    """The layers of some runs under the names of the graph's nodes, with the types that the builder told of them.

    A layer that computes no node of the graph was inserted by TensorRT: a copy into another format.
    """
    known = {layer.name: layer for layer in sidecar.engine_layers}
    products = {layer.name: layer for layer in sidecar.layers}
    times: dict[str, list[float]] = {}
    for run in runs:
        for name, milliseconds in run:
            times.setdefault(name, []).append(milliseconds)
    return tuple(
        _time(name, known.get(name), products, statistics.median(milliseconds)) for name, milliseconds in times.items()
    )


def _time(name: str, layer: LayerTypes | None, products: Mapping[str, Layer], milliseconds: float) -> LayerTime:
    if layer is None:
        # A sidecar knows all layers that the builder told of; of another one nothing is known but this.
        return LayerTime(name, UNKNOWN, UNKNOWN, milliseconds)
    called, compute = identity(layer, products)
    return LayerTime(called, layer.kind, compute, milliseconds, inserted=not layer.nodes)


def identity(layer: LayerTypes, products: Mapping[str, Layer]) -> tuple[str, str]:
    """What a layer is called, after the first product in it, and the type that it computes in."""
    product = next((products[node] for node in layer.nodes if node in products), None)
    if product is not None:
        return product.name, product.compute
    name = layer.nodes[0] if layer.nodes else layer.name
    return name, widest(port.dtype for port in layer.inputs or layer.outputs)
