"""How a picture is stylised by optimisation (`models/gatys.py`). Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from visiondeploy.types import Seed, Settings

Layers = Annotated[tuple[str, ...], Field(min_length=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class GatysSettings(Settings):
    """What is minimised, and how.

    `size` is the longer side of the result in pixels. It is reached in `scales` steps, each of twice the size of the
    one before, among which the `iterations` are shared equally. `style_size` is the longer side of the painting
    relative to that of the picture, at each scale: with more, what the painting shows is larger.

    The weights are those of distances relative to what is wanted (`models/perceptual.py`). `features` is the network
    that sees (`models/features.py`), and layers are its own where none are named. `init` is what is begun with at the
    coarsest scale. `save_every` counts iterations between states that an interrupted run goes on from; `memory` is
    how many steps L-BFGS remembers, each of which costs twice the picture in float32.
    """

    features: Annotated[str, Field(min_length=1)] = "mobilenet"
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    size: Annotated[int, Field(ge=32, le=4096)] = 512
    scales: Annotated[int, Field(ge=1, le=6)] = 3
    style_size: Annotated[float, Field(gt=0, le=4)] = 1.0
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 400
    content_weight: Weight = 1.0
    style_weight: Weight = 20.0
    variation_weight: Weight = 1.0
    init: Literal["content", "noise"] = "content"
    seed: Seed = 0
    save_every: Annotated[int, Field(ge=1)] = 10
    memory: Annotated[int, Field(ge=1, le=100)] = 10

    @model_validator(mode="after")
    def _has_an_aim(self) -> Self:
        if self.content_weight == 0 and self.style_weight == 0:
            raise ValueError(
                "content_weight and style_weight are both 0, so that nothing is aimed at: give one a weight above 0"
            )
        return self
