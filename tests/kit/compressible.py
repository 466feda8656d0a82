"""Networks to compress: those of the table as after training, and small ones with any layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visiondeploy.models.compression.changes import Between
from visiondeploy.models.compression.dependencies import Coupling, Dependencies
from visiondeploy.models.compression.separable import replaceable, separate
from visiondeploy.models.style_blocks import ConditionalAffine
from visiondeploy.models.table import create

SIZE = (32, 48)
VARIANTS: dict[str, tuple[str, dict[str, str | int | bool]]] = {
    "unet": ("unet", {"base_width": 8, "depth": 2}),
    "unet separable": ("unet", {"base_width": 8, "depth": 2, "separable": True}),
    "unet bilinear": ("unet", {"base_width": 8, "depth": 2, "up": "bilinear"}),
    "deeplabv3": ("deeplabv3", {}),
    "deeplabv3 resnet50": ("deeplabv3", {"backbone": "resnet50"}),
    "style": ("style", {"width": 8, "blocks": 2}),
    "style batch": ("style", {"width": 8, "blocks": 1, "norm": "batch", "padding": "zero", "upsample": "transposed"}),
    "style shuffle": ("style", {"width": 8, "blocks": 1, "padding": "replicate", "upsample": "shuffle"}),
    "style-multi": ("style-multi", {"width": 8, "blocks": 1}),
    "style-adain": ("style-adain", {"width": 8, "blocks": 1}),
    "style-adain batch": ("style-adain", {"width": 8, "blocks": 1, "norm": "batch"}),
}
"""Every network of the table, with the options that change what depends on what."""

CASES = [(variant, None) for variant in VARIANTS]
CASES += [(v, between) for v in VARIANTS if v != "unet separable" for between in ("none", "norm", "norm-relu")]


def made(variant: str, between: Between | None = None) -> nn.Module:
    """A network whose norms have random statistics; with `between` all of its layers that can be are separable."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name, options = VARIANTS[variant]
        module = create(name, options, 3).eval()
        if between is not None:
            separate(module, replaceable(module), between, "random")
        return with_statistics(module)


def with_statistics(module: nn.Module) -> nn.Module:
    """Norms as after training; channels without input give no zeros."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
            nn.init.normal_(layer.running_mean, 0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
        elif isinstance(layer, nn.InstanceNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
        elif isinstance(layer, ConditionalAffine):
            nn.init.uniform_(layer.scale, 0.5, 1.5)
            nn.init.normal_(layer.shift, 0, 0.3)
    return module.eval()


def some_of(couplings: Sequence[Coupling], share: float = 0.5, seed: int = 0) -> dict[str, tuple[int, ...]]:
    """A random half of the units of each coupling, as its root's channels."""
    rng = np.random.default_rng(seed)
    return {
        c.root: channels_of(c, rng.permutation(len(c.units))[: min(len(c.units) - 1, round(len(c.units) * share))])
        for c in couplings
        if len(c.units) > 1
    }


def channels_of(coupling: Coupling, units: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(channel for unit in units for channel in coupling.units[unit]))


def blind(module: nn.Module, removed: Mapping[str, Sequence[int]]) -> None:
    """Set the weights to zero with which these channels are read."""
    for coupling, group in Dependencies(module).groups():
        gone = set(removed.get(coupling.root, ()))
        for item in group:
            layer = item.dep.layer
            places = [place for place, root in zip(item.idxs, item.root_idxs, strict=True) if root in gone]
            if any(layer is module.get_submodule(name) for name in coupling.reads):
                with torch.no_grad():
                    ignore(layer, places)


def ignore(layer: nn.Module, places: Sequence[int]) -> None:
    """Let a layer no longer read these input channels."""
    if isinstance(layer, nn.Linear):
        layer.weight[:, places] = 0
    elif isinstance(layer, nn.ConvTranspose2d):
        layer.weight[places] = 0
    elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
        layer.weight[:, places] = 0
    elif isinstance(layer, nn.Conv2d) and layer.groups < layer.in_channels:
        size, made_by = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        for place in places:
            first = place // size * made_by
            layer.weight[first : first + made_by, place % size] = 0


def image(size: tuple[int, int] = SIZE, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """A network of a few layers by name, and what they do with an image."""

    def __init__(self, run: Callable[[Small, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._run = run

    def forward(self, values: Tensor) -> Tensor:
        return self._run(self, values)

    def __getattr__(self, name: str) -> nn.Module:
        return super().__getattr__(name)


def small(run: Callable[[Small, Tensor], Tensor], **layers: nn.Module) -> Small:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in layers.values():
            for part in layer.modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                    part.reset_parameters()
        found = Small(run, **layers)
        with_statistics(found)
    return found


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
