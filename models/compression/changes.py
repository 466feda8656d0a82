"""What was changed of a network's architecture, as its checkpoint records it. Imports no torch.

A network is made from its architecture and options, then its changes are made again in order (`replay.py`); the
weights that are loaded into it are those of the result. Nothing is pickled.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visiondeploy.types import Settings

Between = Literal["none", "norm", "norm-relu"]
"""What stands between the two halves of a separable convolution."""


class Separated(Settings):
    """Convolutions that became a depthwise and a pointwise one, by their names; see `separable.py`."""

    kind: Literal["separable"] = "separable"
    layers: Annotated[tuple[str, ...], Field(min_length=1)]
    between: Between = "none"


class Pruned(Settings):
    """Channels that were removed: the output channels of each layer by its name, counted before this change.

    What depends on them (the normalisation behind, the inputs of what reads them, layers that are added to them)
    follows from the architecture; see `dependencies.py`.
    """

    kind: Literal["prune"] = "prune"
    removed: dict[str, tuple[Annotated[int, Field(ge=0)], ...]]


Change = Annotated[Separated | Pruned, Field(discriminator="kind")]
