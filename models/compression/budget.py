"""What a compressed network may cost, as the command line and recipes write it. Imports no torch.

latency=0.5x    half the time of the uncompressed network's engine, on the same backend in the same precision
latency=20ms    so many milliseconds an image
params=0.2x     a fifth of the parameters          params=1.5M    so many
macs=0.1x       a tenth of the multiply-accumulates of one image    macs=3.2G
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["latency", "params", "macs"]

_KINDS: dict[str, Kind] = {"latency": "latency", "params": "params", "macs": "macs"}
_TEXT = re.compile(rf"(?P<kind>{'|'.join(_KINDS)})\s*=\s*(?P<amount>\d+(\.\d*)?|\.\d+)\s*(?P<unit>x|×|ms|k|M|G)?")
_COUNTS = {None: 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
EXPECTED = "write latency=0.5x, latency=20ms, params=0.2x, params=1.5M, macs=0.1x or macs=3.2G"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit: a share of what the uncompressed network costs, or so many milliseconds, parameters or MACs."""

    kind: Kind
    amount: float
    relative: bool

    def limit(self, whole: float) -> float:
        """The limit in the unit of `whole`, which is what the uncompressed network costs."""
        return self.amount * whole if self.relative else self.amount


def parse_budget(text: str) -> Budget:
    """A budget from its text. Raises `ValueError` with what was expected."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no budget: {EXPECTED}")
    kind, unit = _KINDS[found["kind"]], "x" if found["unit"] == "×" else found["unit"]
    amount = float(found["amount"])
    if not 0 < amount < math.inf:
        raise ValueError(f"{text[:40]!r} leaves nothing: {EXPECTED}")
    if unit == "x":
        if amount > 1:
            raise ValueError(f"{text[:40]!r} allows more than the network costs as it is: {EXPECTED}")
        return Budget(kind, amount, relative=True)
    if (unit == "ms") != (kind == "latency"):
        raise ValueError(f"{text[:40]!r} has no unit of {kind}: {EXPECTED}")
    return Budget(kind, amount if unit == "ms" else amount * _COUNTS[unit], relative=False)
