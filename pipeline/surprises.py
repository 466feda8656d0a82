"""What is not as was asked for, in words."""

from __future__ import annotations

from collections.abc import Mapping

from visiondeploy.benchmarks.environment import has_fast_half
from visiondeploy.types import Precision


def surprises(precision: Precision, realised: Mapping[str, int], stored: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences on layers that do not compute in the precision that was asked for; none where all do."""
    off = {kind: count for kind, count in realised.items() if kind != precision and count}
    if not off:
        return ()
    if precision is Precision.FP16 and off.keys() == {"fp32"} and not has_fast_half():
        half = stored.get("fp16", 0)
        return (f"this CPU has no fast half precision: {half} layers are stored in fp16 and computed in fp32",)
    kinds = ", ".join(f"{count} in {kind}" for kind, count in off.items())
    return (f"{sum(off.values())} of {sum(realised.values())} layers do not compute in {precision}: {kinds}",)
