"""A network as numbers: what each layer costs, and on which channels that depends. What a budget is solved with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from visiondeploy.models.compression.dependencies import Coupling, Dependencies, norm_channels
from visiondeploy.models.compression.separable import replaceable, residual
from visiondeploy.models.compression.shapes import LayerShape, pair

Removed = Mapping[str, int]
"""Units that are removed of each coupling, by its root."""


class Cost(Protocol):
    """What a budget limits: parameters, multiply-accumulates, milliseconds."""

    def layer(self, name: str, shape: LayerShape) -> float:
        """What a layer costs, by its name and with the channels that it has then."""
        ...

    @property
    def norm_channel(self) -> float:
        """What each channel of a normalisation costs."""
        ...


@dataclass(frozen=True, slots=True)
class Parameters:
    """Weights and biases, and scale and shift of each normalised channel."""

    norm_channel: float = 2.0

    def layer(self, name: str, shape: LayerShape) -> float:
        """Of one layer."""
        return float(shape.parameters)


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of one image; those of a normalisation are folded away."""

    norm_channel: float = 0.0

    def layer(self, name: str, shape: LayerShape) -> float:
        """Of one layer."""
        return float(shape.macs)


@dataclass(frozen=True)
class Structure:
    """Layers by name with their shapes as they are, the couplings between them, and normalised channels by name (of a
    norm that has several styles, for each of them).

    `replaceable` are the layers that a separable convolution can replace, with the share of the kernel that is lost;
    with `norm_between` there is a normalisation within.
    """

    layers: Mapping[str, LayerShape]
    couplings: tuple[Coupling, ...]
    norms: Mapping[str, int] = field(default_factory=dict)
    replaceable: Mapping[str, float] = field(default_factory=dict)
    norm_between: bool = False

    def shapes(self, name: str, removed: Removed, separated: frozenset[str] = frozenset()) -> dict[str, LayerShape]:
        """A layer without the removed units, by its name; of one that is separated, its two halves."""
        shape = self.layers[name]
        outputs = shape.out_channels - self._gone(name, removed, "makes")
        inputs = shape.in_channels - self._gone(name, removed, "reads")
        if shape.depthwise:
            # Its outputs are its inputs, and Torch-Pruning names it on one side or on both.
            inputs = outputs = min(inputs, outputs)
        shape = shape.with_channels(inputs, outputs)
        return halves(name, shape) if name in separated else {name: shape}

    def cost(self, cost: Cost, removed: Removed, separated: frozenset[str] = frozenset()) -> float:
        """What all of it costs without the removed units."""
        layers = sum(self.layer_cost(cost, name, removed, separated) for name in self.layers)
        norms = sum(channels - self._gone(name, removed, "norms") for name, channels in self.norms.items())
        return layers + norms * cost.norm_channel

    def layer_cost(self, cost: Cost, name: str, removed: Removed, separated: frozenset[str] = frozenset()) -> float:
        """What a layer costs without the removed units."""
        shapes = self.shapes(name, removed, separated)
        paid = sum(cost.layer(layer, shape) for layer, shape in shapes.items())
        if name in separated and self.norm_between:
            paid += next(iter(shapes.values())).out_channels * cost.norm_channel
        return paid

    def _gone(self, name: str, removed: Removed, side: str) -> int:
        return sum(count * removed.get(root, 0) for root, count in self._by_layer.get((name, side), ()))

    @cached_property
    def _by_layer(self) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """For each layer or norm and side of it the roots of its couplings, each with the channels of a unit."""
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for coupling in self.couplings:
            for side in ("makes", "reads", "norms"):
                for name, count in getattr(coupling, side).items():
                    found.setdefault((name, side), []).append((coupling.root, count))
        return found


def halves(name: str, shape: LayerShape) -> dict[str, LayerShape]:
    """The depthwise and the pointwise convolution that replace a dense one, by the names that they have then."""
    inputs = shape.in_channels
    depthwise = LayerShape(
        "conv", inputs, inputs, shape.kernel, shape.stride, shape.padding, shape.dilation, inputs, shape.size
    )
    one, none = (1, 1), (0, 0)
    pointwise = LayerShape(
        "conv", inputs, shape.out_channels, one, one, none, one, 1, depthwise.output, bias=shape.bias
    )
    return {f"{name}.depthwise": depthwise, f"{name}.pointwise": pointwise}


def structure_of(module: nn.Module, size: tuple[int, int]) -> Structure:
    """The structure of a module for one image of height × width `size`. The module is put into eval mode."""
    couplings = Dependencies(module).couplings()
    lost = {name: residual(_weight(module.get_submodule(name))) for name in replaceable(module)}
    norms = {name: count for name, layer in module.named_modules() if (count := norm_channels(layer))}
    return Structure(layers_of(module, size), couplings, norms, lost)


def layers_of(module: nn.Module, size: tuple[int, int]) -> dict[str, LayerShape]:
    """Convolutions and linear layers by name, in the order in which they run. The module is put into eval mode.

    A layer that runs several times is there once, with the shape of its first run.
    """
    found: dict[str, LayerShape] = {}
    hooks = []
    for name, layer in module.eval().named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):

            def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: object, name: str = name) -> None:
                found.setdefault(name, _shape(layer, inputs[0]))

            hooks.append(layer.register_forward_hook(note))
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, *size, device=next(module.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape(layer: nn.Module, values: Tensor) -> LayerShape:
    if isinstance(layer, nn.Linear):
        one, none = (1, 1), (0, 0)
        return LayerShape(
            "linear", layer.in_features, layer.out_features, one, one, none, one, 1, one, layer.bias is not None
        )
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return LayerShape(
        "conv" if isinstance(layer, nn.Conv2d) else "transposed",
        layer.in_channels,
        layer.out_channels,
        pair(layer.kernel_size),
        pair(layer.stride),
        _padding(layer),
        pair(layer.dilation),
        layer.groups,
        (values.shape[-2], values.shape[-1]),
        layer.bias is not None,
    )


def _padding(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int]:
    if not isinstance(layer.padding, str):
        return pair(layer.padding)
    if layer.padding == "valid":
        return 0, 0
    (height, width), (down, across) = pair(layer.kernel_size), pair(layer.dilation)
    return down * (height - 1) // 2, across * (width - 1) // 2


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return layer.weight
