"""Networks and helpers of the tests that train with fake quantisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.networks import spec_of
from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.table import NETWORKS


class Branches(nn.Module):
    """What may stand between convolutions and no network of the table has all of: 3 channels to 3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
        )
        self.pool = nn.AvgPool2d(2)
        self.low = nn.Conv2d(8, 8, 1)
        self.near = nn.Upsample(scale_factor=2)
        self.grouped = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2)
        self.last = nn.Conv2d(24, 3, 1)
        self.side = nn.Conv2d(8, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = x + self.deep(x)
        y = F.relu(self.low(self.pool(x)))
        smooth = F.interpolate(y, scale_factor=2, mode="bilinear")
        return self.last(torch.cat([self.near(y), self.grouped(y), smooth], dim=1)) + self.side(x)


NAMES = (*NETWORKS, "separable unet", "branches")


def trained_like(name: str) -> nn.Module:
    """A network with random weights, and batch norms as training leaves them: none of them is the identity."""
    generator = torch.Generator().manual_seed(1)
    if name == "branches":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module: nn.Module = Branches()
    else:
        options = {"separable": True} if name.startswith("separable ") else {}
        spec = spec_of(name.removeprefix("separable "))
        module = new_network(spec.model_copy(update={"options": spec.options | options}), seed=0).module
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        for tensor, low, high in ((norm.weight, -1.5, 1.5), (norm.bias, -0.5, 0.5), (norm.running_mean, -0.3, 0.3)):
            tensor.data.uniform_(low, high, generator=generator)
        norm.running_var.uniform_(0.05, 2, generator=generator)
    return module.eval()
