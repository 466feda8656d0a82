"""A feature network that is small enough for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from visiondeploy.models import features

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


class TinyFeatures(nn.Module):
    """Three random convolutions with ReLU, each after the first at half the resolution of the one before."""

    layers = LAYERS
    content = LAYERS[1:2]
    style = LAYERS

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        widths = (3, 8, 12, 16)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inner, outer, 3, stride=1 if inner == 3 else 2, padding=1)
            for inner, outer in itertools.pairwise(widths)
        )
        with torch.no_grad():
            for parameter in self.parameters():
                spread = 1.0 if parameter.ndim == 1 else (2.0 / parameter[0].numel()) ** 0.5
                parameter.normal_(0.0, spread, generator=generator)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        features = (images - 0.5) / 0.25
        for name, convolution in zip(LAYERS, self.convolutions, strict=True):
            features = convolution(features).relu()
            if name in layers:
                found[name] = features
        return found


@contextmanager
def known(folder: Path) -> Iterator[str]:
    """`TinyFeatures` as a feature network of the table, whose weights lie in a folder; gives its name."""
    (folder / "tiny").mkdir(parents=True, exist_ok=True)
    save_file(TinyFeatures().state_dict(), folder / "tiny" / features.WEIGHTS)
    entry = features.FeatureEntry("kit.features", "TinyFeatures", "three random convolutions", features.Shipped("none"))
    with mock.patch.dict(features.FEATURES, {"tiny": entry}), mock.patch.object(features, "SHIPPED", folder):
        yield "tiny"
