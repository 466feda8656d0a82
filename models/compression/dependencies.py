"""Which channels of a network can only be removed together, as Torch-Pruning's dependency graph finds it.

A `Coupling` is a set of channels with one of its layers as the root: the output channels of the root, of the layers
that are added to it, the normalisation behind, and the input channels of all that read them. Roots are convolutions
and linear layers that choose their own outputs; a depthwise one has the channels of what comes before it. Were one a
root, a depthwise convolution behind a concat would couple all that is joined there (Torch-Pruning#481).

Channels are removed in units. Behind a grouped convolution that is the same place in every group, so that groups stay
equal; in front of a pixel shuffle all channels that become one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from visiondeploy.models.style_blocks import ConditionalAffine

EXAMPLE = (1, 3, 64, 64)
"""The image that the graph is found with: what depends on what is the same for every size."""

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, ConditionalAffine)


def norm_channels(layer: nn.Module) -> int:
    """The channels that a norm has a scale and a shift of its own for; of one with styles, once for each. Else 0."""
    if isinstance(layer, ConditionalAffine):
        return layer.scale.numel()
    known = isinstance(layer, NORMS) and getattr(layer, "weight", None) is not None
    return _channels(layer, made=True) if known else 0


@dataclass(frozen=True, slots=True)
class Coupling:
    """Channels that go together. `units` are the root's output channels, those that only go at once in one tuple.

    `makes` are the layers whose outputs they are, `reads` those whose inputs they are and `norms` the norms with a
    scale and a shift of theirs, each with the channels that one unit has there.
    """

    root: str
    units: tuple[tuple[int, ...], ...]
    makes: dict[str, int] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    norms: dict[str, int] = field(default_factory=dict)


class Dependencies:
    """The couplings of a module, and the removal of channels in it."""

    def __init__(self, module: nn.Module) -> None:
        """Trace the module, which is put into eval mode."""
        import torch_pruning as tp

        self._module = module.eval()
        self._names = {layer: name for name, layer in module.named_modules()}
        self._tp = tp
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        device = next(module.parameters()).device
        with torch.enable_grad(), warnings.catch_warnings(), _ByElement():
            warnings.simplefilter("ignore")
            self._graph: Any = tp.DependencyGraph().build_dependency(
                module,
                example_inputs=torch.zeros(EXAMPLE, device=device),
                customized_pruners={ConditionalAffine: _affine_pruner()},
                # Only an operation at the end is known as the output: a layer there would be one that can be pruned.
                output_transform=lambda made: [values * 1 for values in tp.utils.flatten_as_list(made)],
                verbose=False,
            )
        _map_shuffles(self._graph.module2node.values())

    def couplings(self) -> tuple[Coupling, ...]:
        """All channels that can be removed, in the order in which the network runs: not its outputs."""
        return tuple(coupling for coupling, _ in self.groups())

    def groups(self) -> Iterator[tuple[Coupling, Any]]:
        """Each coupling with Torch-Pruning's group of all its channels."""
        seen: set[str] = set()
        # The graph was followed from its end.
        for layer in reversed(list(self._graph.module2node)):
            name = self._names.get(layer)
            if name is None or name in seen or not isinstance(layer, _ROOTS) or _is_depthwise(layer):
                continue
            group = self._group(layer, range(_outputs(layer)))
            seen |= {self._names[dep.layer] for dep, _ in group if self._makes(dep) and dep.layer in self._names}
            coupling = self._coupling(name, group)
            if coupling is not None:
                yield coupling, group

    def remove(self, root: str, channels: tuple[int, ...]) -> None:
        """Take output channels of a root out of the module, and all that depends on them. Raises `ValueError`.

        They are whole units of a coupling, each named once.
        """
        layer, gone = self._module.get_submodule(root), set(channels)
        known = isinstance(layer, _ROOTS) and not _is_depthwise(layer)
        if not known or not gone or not gone < set(range(_outputs(layer))):
            raise ValueError(f"the layer '{root}' has not all of the {len(channels)} channels that are to be removed")
        coupling = self._coupling(root, self._group(layer, range(_outputs(layer))))
        if coupling is None:
            raise ValueError(f"the channels of '{root}' are outputs of the network, or lie unevenly in groups")
        if len(gone) < len(channels) or any(0 < len(gone & set(unit)) < len(unit) for unit in coupling.units):
            raise ValueError(
                f"channels of '{root}' are there twice, or without those that go with them in other groups"
            )
        group = self._group(layer, channels)
        if not self._graph.check_pruning_group(group):
            raise ValueError(f"without {len(channels)} channels of '{root}' a layer would be left with none")
        group.prune(record_history=False)
        for parameter in self._module.parameters():
            parameter.grad = None

    def _group(self, layer: nn.Module, channels: Any) -> Any:
        function = self._graph.get_pruner_of_module(layer).prune_out_channels
        return self._graph.get_pruning_group(layer, function, list(channels))

    def _makes(self, dependency: Any) -> bool:
        return bool(self._graph.is_out_channel_pruning_fn(dependency.handler))

    def _coupling(self, root: str, group: Any) -> Coupling | None:
        """None for what cannot be removed: the network's own outputs, and channels that lie unevenly in groups."""
        total = len(group[0].idxs)
        groups, joined, channels = 1, 1, dict[str, dict[str, int]](makes={}, reads={}, norms={})
        for item in group:
            dependency, indices = item.dep, item.idxs
            layer = dependency.layer
            if isinstance(layer, self._tp.ops._OutputOp):
                return None
            name = self._names.get(layer)
            if name is None or not isinstance(layer, (*_ROOTS, *NORMS)):
                continue
            if len(indices) % total:
                area = total // len(indices)
                if area < 2 or list(item.root_idxs) != list(range(0, total, area)):
                    return None
                joined = math.lcm(joined, area)
            if not _is_depthwise(layer) and (grouped := _groups(layer)) > 1:
                # A part of them, in front of a concat, would leave its groups with unequal numbers.
                if len(indices) != total or list(indices) != list(range(_channels(layer, self._makes(dependency)))):
                    return None
                groups = math.lcm(groups, grouped)
            kind = "norms" if isinstance(layer, NORMS) else "makes" if self._makes(dependency) else "reads"
            sets = norm_channels(layer) // _channels(layer, made=True) if kind == "norms" else 1
            if sets:
                channels[kind][name] = channels[kind].get(name, 0) + len(indices) * sets
        # Which channels go together in front of a shuffle is one order, and behind it in groups another.
        if total % groups or (groups > 1 and joined > 1):
            return None
        size = total // groups
        if joined > 1:
            units = tuple(tuple(range(first, first + joined)) for first in range(0, total, joined))
        else:
            units = tuple(tuple(place + size * number for number in range(groups)) for place in range(size))
        per_unit = {kind: {name: n // len(units) for name, n in found.items()} for kind, found in channels.items()}
        return Coupling(root, units, **per_unit)


class _ByElement(TorchFunctionMode):
    """Lets an instance norm be something by channel, in place of the batch norm of another shape that it is made of."""

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return args[0] * 1 if func is F.instance_norm else func(*args, **(kwargs or {}))


def _affine_pruner() -> Any:
    """How channels are removed of a `ConditionalAffine`."""
    from torch_pruning.pruner.function import BasePruningFunc

    class Pruner(BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: ConditionalAffine, idxs: Sequence[int]) -> nn.Module:
            kept = sorted(set(range(layer.scale.shape[1])) - set(idxs))
            layer.scale = self._prune_parameter_and_grad(layer.scale, kept, 1)
            layer.shift = self._prune_parameter_and_grad(layer.shift, kept, 1)
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: ConditionalAffine) -> int:
            return layer.scale.shape[1]

        get_in_channels = get_out_channels

    return Pruner()


def _map_shuffles(nodes: Any) -> None:
    """Tell the graph which channels a pixel shuffle makes of which; to it all that is no layer keeps them."""
    for node in nodes:
        if "PixelShuffle" not in str(getattr(node.grad_fn, "name", str)()):
            continue
        area = int(node.grad_fn._saved_upscale_factor) ** 2
        for before in node.inputs:
            for dependency in node.dependencies:
                if dependency.target is before:
                    dependency.index_mapping[0] = _Spread(area)
            for dependency in before.dependencies:
                if dependency.target is node:
                    dependency.index_mapping[0] = _Joined(area)


@dataclass(frozen=True, slots=True)
class _Spread:
    """From the channels behind a pixel shuffle to those in front of it."""

    area: int

    def __call__(self, indices: Sequence[Any]) -> list[Any]:
        return [i._replace(idx=i.idx * self.area + place) for i in indices for place in range(self.area)]


@dataclass(frozen=True, slots=True)
class _Joined:
    """From the channels in front of a pixel shuffle to those behind it, each once."""

    area: int

    def __call__(self, indices: Sequence[Any]) -> list[Any]:
        found = {i.idx // self.area: i for i in reversed(indices)}
        return [found[channel]._replace(idx=channel) for channel in sorted(found)]


_ROOTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _outputs(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _channels(layer: nn.Module, made: bool) -> int:
    """Of a grouped layer's outputs or inputs, or of a norm."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
        return layer.num_features
    if isinstance(layer, ConditionalAffine):
        return layer.scale.shape[1]
    return _outputs(layer) if made else int(layer.in_channels)  # type: ignore[arg-type]


def _groups(layer: nn.Module) -> int:
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    return layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels == layer.in_channels > 1
