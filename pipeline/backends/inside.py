"""What a backend may tell of the inside of its engines. None has to: of others there are the recorded products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from visiondeploy.calibration.watching import Watch
from visiondeploy.types import Array, Layer, TensorSpec

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a network's inputs for one image, by name."""


@dataclass(frozen=True, slots=True)
class LayerDetail:
    """One layer, as it stands in a graph or as a runtime executes it.

    `name`         the path of its module where it has weights ("encoder.0.3")
    `inputs`       what it computes from, without constants; `outputs` what it makes. Shapes are for one image
    `parameters`   values of its weights and biases, without scales and zero points; `weight_bytes` all its constants
    `macs`         multiply-accumulates for one image: 0 for what is no product of weights or matrices
    `compute`      the type of the arithmetic: in an ONNX file the one that the graph asks for, of products alone; in
                   an engine the one that the runtime uses
    `fused`        other operators of the graph that are executed within

    What nobody says is None, and of inputs and outputs an empty tuple. A constant that several layers read is counted
    with the first.
    """

    name: str
    kind: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    parameters: int | None = None
    weight_bytes: int | None = None
    macs: int | None = None
    compute: str | None = None
    provider: str | None = None
    fused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inner:
    """A tensor that can be watched: its name, and name and kind of the layer that makes it."""

    tensor: str
    layer: str
    kind: str


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer as a runtime executes it, and how long that takes: the median of several runs.

    `name`      the path of its module, or its node in the graph, where that is known; else what the runtime calls it
    `kind`      what the runtime calls the operator, `compute` the type of the arithmetic, both as in `Layer`
    `inserted`  whether the runtime put it there: it moves data into another layout or type, and is in no graph
    """

    name: str
    kind: str
    compute: str
    milliseconds: float
    inserted: bool = False


@runtime_checkable
class Inspectable(Protocol):
    """A backend that knows more of the layers than what is recorded of the products."""

    @property
    def reads_alone(self) -> bool:
        """Whether it can where its runtime cannot be used."""
        ...

    def layers(self, folder: Path, threads: int, shapes: Shapes, recorded: Sequence[Layer]) -> tuple[LayerDetail, ...]:
        """Every layer of the engine in `folder`, in the order of execution.

        `recorded` are the products as they were realised when the engine was built. The caller has checked the digests.
        Raises `InputError`.
        """
        ...


@runtime_checkable
class Watchable(Protocol):
    """A backend whose engines give the values of their inner tensors.

    Whatever is watched is written out, so that the runtime fuses nothing across it: its value may be another than
    the one in the engine as it runs.
    """

    def inner(self, folder: Path) -> tuple[Inner, ...]:
        """The float tensors that depend on an input, in the order in which they are computed."""
        ...

    def watch(self, folder: Path, threads: int) -> Watch:
        """What computes tensors of `inner` by name. The caller has checked the digests. Raises `InputError`."""
        ...


WARMUPS = 3
"""Runs before those that a profile is made of."""


@runtime_checkable
class Profilable(Protocol):
    """A backend whose runtime times each layer by itself.

    The sum is less than a call, and a runtime that keeps times is a little slower: for shares and comparisons.
    """

    def profile(self, folder: Path, threads: int, feeds: Mapping[str, Array], runs: int) -> tuple[LayerTime, ...]:
        """Every layer that is executed for these feeds, in order, over `runs` runs after some that are not counted.

        What the runtime put there itself (a reorder, a cast) is a layer as well. The caller has checked the digests.
        Raises `InputError`.
        """
        ...


@runtime_checkable
class SingleLayers(Profilable, Protocol):
    """A backend that single layers are timed on, in graphs made for it.

    That their times add up to those in a network was measured for it. What runs PyTorch's modules takes no graph.
    """

    @property
    def single_layers(self) -> bool:
        """True."""
        ...
