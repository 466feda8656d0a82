"""Settings of calibration. Imports no runtime."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visiondeploy.types import Seed, Settings


class CalibrationSettings(Settings):
    """Which images are observed, by which observer, and the Q/DQ scheme that is written.

    `images` of the split data.calibration are observed, and `held_back` further ones judge what is tried; with
    `stratify` every class that occurs has its share of them, as far as there are masks. `ranges` is a file of
    `deploy calibrate` whose ranges are taken instead of observing. `scheme` "auto" is what each backend names; any
    other makes every backend run that one. `observer` "auto" is the one with the best SQNR of the outputs on the
    images held back. `weight_bits` "auto" is 8 where the CPU multiplies 8-bit integers into 32 bits (VNNI, or ARM's
    dot product) and 7 elsewhere: on x86 without VNNI two products are added in 16 bits and saturate.

    `equalise`, `bias_correction` and `adaround` repair accuracy without labels; what does not raise the SQNR on
    the held-back images is left off. With `mixed` the fewest layers are kept in float with which the metric falls by
    no more than limits.max_drop, judged on `mixed_images` of the split data.sensitivity.
    """

    scheme: str = "auto"
    observer: str = "auto"
    ranges: str | None = None
    images: Annotated[int, Field(ge=1)] = 64
    held_back: Annotated[int, Field(ge=1)] = 8
    stratify: bool = True
    seed: Seed = 0
    weight_bits: Literal["auto", 7, 8] = "auto"
    equalise: bool = True
    bias_correction: bool = True
    adaround: bool = False
    mixed: bool = False
    mixed_images: Annotated[int, Field(ge=2)] = 64
