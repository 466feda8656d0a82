"""The recipe's section [engine]: how an engine is built by a backend that compiles for a device."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from visiondeploy.types import Settings

Extent = Annotated[int, Field(ge=1, le=65536)]
Text = Annotated[str, Field(min_length=1)]


def _rising(value: tuple[int, int, int]) -> tuple[int, int, int]:
    if list(value) != sorted(value):
        raise ValueError("a range is [min, opt, max] with min ≤ opt ≤ max")
    return value


Range = Annotated[tuple[Extent, Extent, Extent], AfterValidator(_rising)]
"""The smallest, the most usual and the largest extent of an axis."""


class EngineSettings(Settings):
    """How an engine is built. Backends that run on the CPU have no use for any of it, and say so.

    `targets` are the GPUs that an engine built ahead of time is for, by compute capability ("sm_86"). `batch`,
    `height` and `width` are the optimisation profile, each as [min, opt, max]; the last two are for graphs whose
    size is free (`export.dynamic_size`). `workspace_mib` limits the builder's and the engine's scratch memory,
    `builder_level` is how long the builder searches (0 to 5), `timing_cache` a file that its measurements are kept
    in. With `tf32` layers in fp32 may round their factors to TF32's 10 bits. With `allow_fallback` a layer that
    computes in a wider type than its graph asks for is a warning and no failure.
    """

    targets: tuple[Text, ...] = ()
    batch: Range = (1, 1, 1)
    height: Range | None = None
    width: Range | None = None
    workspace_mib: Annotated[int, Field(ge=1, le=2**20)] | None = None
    builder_level: Annotated[int, Field(ge=0, le=5)] | None = None
    timing_cache: Text | None = None
    tf32: bool = False
    allow_fallback: bool = False

    def changed(self) -> tuple[str, ...]:
        """The names of the fields that are not as they are by default."""
        return tuple(name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default)


PLAIN = EngineSettings()
"""Nothing set."""
