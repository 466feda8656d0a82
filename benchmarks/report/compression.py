"""What compressing a network did: each variant that was tried, and each layer before and after. A part of a report."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from visiondeploy.benchmarks.report.parts import Interval, Part, Positive, Text


class LayerCost(Part):
    """One convolution or linear layer, for one image.

    `milliseconds` is its own time in the engine, from the runtime's profile; None where it does not tell.
    """

    name: Text
    kind: Literal["conv", "transposed", "linear"]
    in_channels: NonNegativeInt
    out_channels: NonNegativeInt
    kernel: tuple[NonNegativeInt, NonNegativeInt]
    groups: Annotated[int, Field(ge=1)]
    parameters: NonNegativeInt
    macs: NonNegativeInt
    milliseconds: NonNegativeFloat | None = None


class LayerChange(Part):
    """A layer of the uncompressed network, and what stands in its place: itself narrower, or two halves."""

    before: LayerCost
    after: tuple[LayerCost, ...]


class Variant(Part):
    """A network on the way, the uncompressed one first. `row` is the row of the report that its engine was measured in.

    `untuned` is the metric of the changed network before fine-tuning and `tuned` after it, of the float network on the
    images that training validates on; None where there was no such moment. `seconds` is what fine-tuning took.
    """

    name: Text
    change: str
    parameters: NonNegativeInt
    macs: NonNegativeInt
    row: str | None = None
    untuned: float | None = None
    tuned: float | None = None
    steps: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0
    speed_over_dense: Positive | None = None
    """The time of the uncompressed network's engine over this one's, from paired blocks: above 1 this one is faster."""
    speed_over_dense_ci95: Interval | None = None


class Compression(Part):
    """`chosen` is the variant that the build goes on with; `metric` the name of the task's."""

    metric: Text
    backend: str | None
    precision: str
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    chosen: Text
    layers: tuple[LayerChange, ...] = ()
    notes: tuple[str, ...] = ()

    def apart(self) -> Self:
        """The same for a report of other rows than those that the variants were measured in."""
        return self.model_copy(
            update={"variants": tuple(one.model_copy(update={"row": None}) for one in self.variants)}
        )

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names of variants are unique, found twice: {', '.join(twice)}")
        if self.chosen not in names:
            raise ValueError(f"the chosen variant is one of {', '.join(names)}, found '{self.chosen}'")
        return self
