"""What is known of a network besides its weights: task, input, classes, preprocessing. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from visiondeploy.models.compression.changes import Change
from visiondeploy.types import Settings

Scalar = bool | int | float | str
Byte = Annotated[int, Field(ge=0, le=255)]
Io = Literal["float32", "uint8"]


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


class StyleSpec(Settings):
    """What a style network paints like, and how that is judged.

    `names` are those of the paintings, in the order of the network's styles, `digests` the sha256 of their pixels.
    Style and content are compared in the features of the network `features` (`models/features.py`), whose weights
    have the sha256 `weights`, with the paintings' longer side brought to `size` pixels: strokes are as large as there.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    digests: tuple[str, ...]
    features: str
    weights: str
    size: Annotated[int, Field(ge=32)]


class NetworkSpec(Settings):
    """A network as a checkpoint describes it; with the weights it is all that is needed to run it.

    `architecture` is a name of the table in `models/table.py`, `options` its own settings. It has either classes or
    `style`. `ignore_index` is the value of pixels without a class, and lies outside of the classes; the palette has a
    colour for each. `trained_steps` is 0 for random weights, and every report says so. With `io` "uint8"
    normalisation and what follows the network are in the graph: raw images N×H×W×3 uint8 go in. A trained network
    has "float32"; what is served of it may have the other. `changes` is what was changed of the architecture since, in
    order.
    """

    architecture: str
    options: dict[str, Scalar] = Field(default_factory=dict)
    task: str = "segmentation"
    classes: Annotated[tuple[str, ...], Field(max_length=255)] = ()
    palette: tuple[tuple[Byte, Byte, Byte], ...] = ()
    ignore_index: Byte = 255
    style: StyleSpec | None = None
    input: InputSpec = InputSpec()
    trained_steps: Annotated[int, Field(ge=0)] = 0
    io: Io = "float32"
    changes: tuple[Change, ...] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `io`, `changes` and `style` where they are the defaults: as releases wrote it that had none."""
        found: dict[str, Any] = handler(self)
        if self.style is None:
            found.pop("style", None)
        if self.io == "float32":
            found.pop("io", None)
        if not self.changes:
            found.pop("changes", None)
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the network tells apart or paints: classes or styles."""
        return self.classes if self.style is None else self.style.names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.style is None) == (not self.classes):
            raise ValueError("a network has classes, or a style: one of the two is expected")
        if len(self.palette) != len(self.classes):
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.ignore_index < len(self.classes):
            raise ValueError(f"ignore_index {self.ignore_index} is the class {self.classes[self.ignore_index]!r}")
        return self
