"""What is known of a network besides its weights: task, input, classes, preprocessing. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from visiondeploy.models.compression.changes import Change
from visiondeploy.types import Precision, Settings

Scalar = bool | int | float | str
Byte = Annotated[int, Field(ge=0, le=255)]
Io = Literal["float32", "uint8"]
Layout = Literal["NCHW", "NHWC"]

ONNX = "onnx"
"""The architecture of a network that is an ONNX file of somebody else."""


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
    Of a graph that somebody else made there may be no painting, and no features to judge it in.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    features: str | None
    weights: str | None
    size: Annotated[int, Field(ge=32)]


class ConstantFeed(Settings):
    """What an input beside the image is fed with every image: one number for all elements, or theirs in C order.

    With `batched` the first axis is the batch, and free. `given` says whether the recipe names the values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: float | tuple[float, ...]
    batched: bool = False
    given: bool = False


class PictureOutput(Settings):
    """The output of a graph that is a picture; `low` is black in it and `high` white."""

    name: str
    layout: Layout
    low: float
    high: float


class GraphSpec(Settings):
    """What is known of a network that is an ONNX file of somebody else, by the names of its own graph.

    `file` is its name and `sha256` that of its bytes; `precision` is the one that it has: int8 where it has Q/DQ.
    The input `image` takes normalised images in `layout`, `constants` are the others. Without `picture` the outputs
    are something else, as a vector that says a style.
    """

    file: str
    sha256: str
    precision: Precision
    image: str
    layout: Layout
    constants: tuple[ConstantFeed, ...] = ()
    outputs: tuple[str, ...] = ()
    picture: PictureOutput | None = None


class NetworkSpec(Settings):
    """A network as a checkpoint describes it; with the weights it is all that is needed to run it.

    `architecture` is a name of the table in `models/table.py`, `options` its own settings. It has either classes or
    `style`. `ignore_index` is the value of pixels without a class, and lies outside of the classes; the palette has a
    colour for each. `trained_steps` is 0 for random weights, and every report says so. With `io` "uint8"
    normalisation and what follows the network are in the graph: raw images N×H×W×3 uint8 go in. A trained network
    has "float32"; what is served of it may have the other. `changes` is what was changed of the architecture since, in
    order. `graph` is there for an ONNX file of somebody else, whose architecture is "onnx".
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
    graph: GraphSpec | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was added since where it is the default: as releases wrote it that had none."""
        found: dict[str, Any] = handler(self)
        for name in ("style", "graph"):
            if getattr(self, name) is None:
                found.pop(name, None)
        if self.io == "float32":
            found.pop("io", None)
        if not self.changes:
            found.pop("changes", None)
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the network tells apart or paints: classes or styles."""
        return self.classes if self.style is None else self.style.names

    @property
    def trained(self) -> bool:
        """Whether its weights mean something: somebody else's are taken for trained."""
        return self.trained_steps > 0 or self.graph is not None

    @property
    def paints(self) -> bool:
        """Whether pictures can be shown of what it gives."""
        return self.graph is None or self.graph.picture is not None

    @property
    def channels_last(self) -> bool:
        """Whether its images are N×H×W×3, not N×3×H×W."""
        return self.io == "uint8" or (self.graph is not None and self.graph.layout == "NHWC")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.style is None) == (not self.classes):
            raise ValueError("a network has classes, or a style: one of the two is expected")
        if self.graph is None and self.style is not None and not (self.style.names and self.style.features):
            raise ValueError("a style has names, and features in which it is judged")
        if len(self.palette) != len(self.classes):
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.ignore_index < len(self.classes):
            raise ValueError(f"ignore_index {self.ignore_index} is the class {self.classes[self.ignore_index]!r}")
        return self
