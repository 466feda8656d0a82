"""Which channels of a network can only be removed together, as Torch-Pruning's dependency graph finds it.

A `Coupling` is a set of channels with one of its layers as the root: the output channels of the root, of the layers
that are added to it, the normalisation behind, and the input channels of all that read them. Roots are convolutions
and linear layers that choose their own outputs; a depthwise one has the channels of what comes before it. Were one a
root, a depthwise convolution behind a concat would couple all that is joined there (Torch-Pruning#481).

Behind a grouped convolution channels are removed in units: the same place in every group, so that groups stay equal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

EXAMPLE = (1, 3, 64, 64)
"""The image that the graph is found with: what depends on what is the same for every size."""

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)


@dataclass(frozen=True, slots=True)
class Coupling:
    """Channels that go together. `units` are the root's output channels, those that only go at once in one tuple.

    `makes` are the layers and norms whose outputs they are and `reads` the layers whose inputs they are, each with
    the channels that one unit has there.
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
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._graph: Any = tp.DependencyGraph().build_dependency(
                module,
                example_inputs=torch.zeros(EXAMPLE, device=device),
                # Only an operation at the end is known as the output: a layer there would be one that can be pruned.
                output_transform=lambda made: [values * 1 for values in tp.utils.flatten_as_list(made)],
                verbose=False,
            )

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
        groups, channels = 1, dict[str, dict[str, int]](makes={}, reads={}, norms={})
        for dependency, indices in group:
            layer = dependency.layer
            if isinstance(layer, self._tp.ops._OutputOp):
                return None
            name = self._names.get(layer)
            if name is None or not isinstance(layer, (*_ROOTS, *NORMS)):
                continue
            if len(indices) % total:
                return None
            if not _is_depthwise(layer) and (grouped := _groups(layer)) > 1:
                # A part of them, in front of a concat, would leave its groups with unequal numbers.
                if len(indices) != total or list(indices) != list(range(_channels(layer, self._makes(dependency)))):
                    return None
                groups = math.lcm(groups, grouped)
            kind = "norms" if isinstance(layer, NORMS) else "makes" if self._makes(dependency) else "reads"
            channels[kind][name] = channels[kind].get(name, 0) + len(indices) // total
        if total % groups:
            return None
        size = total // groups
        units = tuple(tuple(place + size * number for number in range(groups)) for place in range(size))
        per_unit = {kind: {name: count * groups for name, count in found.items()} for kind, found in channels.items()}
        return Coupling(root, units, **per_unit)


_ROOTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _outputs(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _channels(layer: nn.Module, made: bool) -> int:
    """Of a grouped layer's outputs or inputs, or of a norm."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    return _outputs(layer) if made else int(layer.in_channels)  # type: ignore[arg-type]


def _groups(layer: nn.Module) -> int:
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    return layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels == layer.in_channels > 1
