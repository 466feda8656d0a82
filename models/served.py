"""A network as it is served: raw images go in, and what is wanted of its outputs comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visiondeploy.models.checkpoint import Network
from visiondeploy.models.spec import InputSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.types import Ending


class Classes(nn.Module):
    """Logits N×classes×H×W to the class map N×H×W uint8: the largest, the first of those that are equal."""

    def forward(self, logits: Tensor) -> Tensor:
        """The class of each pixel."""
        # Twice as fast as argmax, which would lend every engine a speed-up; the first of equal ones too.
        return torch.max(logits, dim=1)[1].to(torch.uint8)


class Pixels(nn.Module):
    """A picture N×3×H×W in 0…1 to its pixels N×H×W×3 uint8, rounded to the nearest; what lies outside is cut off."""

    def forward(self, picture: Tensor) -> Tensor:
        """The pixels."""
        return (picture.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


ENDINGS: dict[Ending, type[nn.Module]] = {Ending.CLASSES: Classes, Ending.PIXELS: Pixels}


class Served(nn.Module):
    """N×H×W×3 uint8 RGB to what the ending makes of the network's output.

    value = (pixel / 255 − mean) / std, in the very operations that preprocessing in NumPy has: the network sees
    the same bits.
    """

    if TYPE_CHECKING:
        # TorchScript does not find the names of a class's annotations.
        mean: Tensor
        std: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec, ending: Ending) -> None:
        super().__init__()
        self.network = network
        self.ending = ENDINGS[ending]()
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Normalise, run, finish."""
        # Contiguous, or the network would run channels-last: another layout than where floats go in.
        pixels = image.permute(0, 3, 1, 2).contiguous().float()
        found: Tensor = self.ending(self.network((pixels / 255.0 - self.mean) / self.std))
        return found


def served(network: Network) -> nn.Module:
    """The module with the inputs and outputs that the network's description names."""
    ending = task_of(network.spec).ending
    return network.module if ending is None else Served(network.module, network.spec.input, ending).eval()
