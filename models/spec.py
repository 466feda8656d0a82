"""What is known of a network besides its weights: task, input, classes, preprocessing. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from visiondeploy.types import Settings

Scalar = bool | int | float | str
Byte = Annotated[int, Field(ge=0, le=255)]


class InputSpec(Settings):
    """The network's input: size in pixels, and how an H×W×3 uint8 RGB image becomes N×3×H×W float32.

    value = (pixel / 255 − mean) / std, per channel.
    """

    height: Annotated[int, Field(ge=1, le=16384)] = 128
    width: Annotated[int, Field(ge=1, le=16384)] = 128
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[
        Annotated[float, Field(gt=0)],
        Annotated[float, Field(gt=0)],
        Annotated[float, Field(gt=0)],
    ] = (0.229, 0.224, 0.225)


class NetworkSpec(Settings):
    """A network as a checkpoint describes it; with the weights it is all that is needed to run it.

    `architecture` is a name of the table in `models/table.py`, `options` its own settings.
    `ignore_index` is the value of pixels without a class, and lies outside of the classes; the palette has a
    colour for each. `trained_steps` is 0 for random weights, and every report says so.
    """

    architecture: str
    options: dict[str, Scalar] = Field(default_factory=dict)
    task: str = "segmentation"
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=255)]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    ignore_index: Byte
    input: InputSpec = InputSpec()
    trained_steps: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.ignore_index < len(self.classes):
            raise ValueError(f"ignore_index {self.ignore_index} is the class {self.classes[self.ignore_index]!r}")
        return self
