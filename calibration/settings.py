"""Settings of calibration. Imports no runtime."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from visiondeploy.types import Seed, Settings


class CalibrationSettings(Settings):
    """Which images are observed, by which observer, and the Q/DQ scheme that is written.

    `scheme` "auto" is what each backend names; any other makes every backend run that one.
    `weight_bits` "auto" is 8 where the CPU multiplies 8-bit integers into 32 bits (VNNI, or ARM's dot
    product) and 7 elsewhere: on x86 without VNNI two products are added in 16 bits and saturate.
    """

    scheme: str = "auto"
    observer: str = "min-max"
    images: Annotated[int, Field(ge=1)] = 64
    seed: Seed = 0
    weight_bits: Literal["auto", 7, 8] = "auto"

    def choose(self, available: int) -> list[int]:
        """Indices of the calibration images among `available`, in ascending order, the same for a seed."""
        order = np.random.default_rng(self.seed).permutation(available)
        return sorted(int(index) for index in order[: self.images])
