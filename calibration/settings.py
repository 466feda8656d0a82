"""Settings of calibration. Imports no runtime."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from visiondeploy.types import Seed, Settings


class CalibrationSettings(Settings):
    """Which images are observed, by which observer, and the Q/DQ scheme that is written.

    `scheme` "auto" is what each backend names; any other makes every backend run that one. `observer` "auto" is
    the one with the best SQNR of the outputs on `held_back` further images. `weight_bits` "auto" is 8 where the
    CPU multiplies 8-bit integers into 32 bits (VNNI, or ARM's dot product) and 7 elsewhere: on x86 without VNNI
    two products are added in 16 bits and saturate.

    `equalise`, `bias_correction` and `adaround` repair accuracy without labels; what does not raise the SQNR on
    the held-back images is left off.
    """

    scheme: str = "auto"
    observer: str = "auto"
    images: Annotated[int, Field(ge=1)] = 64
    held_back: Annotated[int, Field(ge=1)] = 8
    seed: Seed = 0
    weight_bits: Literal["auto", 7, 8] = "auto"
    equalise: bool = True
    bias_correction: bool = True
    adaround: bool = False

    def choose(self, available: int) -> list[int]:
        """Indices of the calibration images among `available`, in ascending order, the same for a seed."""
        return sorted(self._order(available)[: self.images])

    def hold_back(self, available: int) -> list[int]:
        """Indices of the images to choose by: others than `choose` gives, as far as there are so many."""
        order = self._order(available)
        first = min(self.images, max(0, available - self.held_back))
        return sorted(order[first : first + self.held_back])

    def _order(self, available: int) -> list[int]:
        return [int(index) for index in np.random.default_rng(self.seed).permutation(available)]
