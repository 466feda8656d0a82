"""What is not as was asked for, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from visiondeploy.benchmarks.environment import has_fast_half
from visiondeploy.types import Layer, Precision


def surprises(precision: Precision, layers: Iterable[Layer], stored: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences on layers that do not compute in the precision that was asked for; none where all do."""
    known = tuple(layers)
    if not known:
        return ("the runtime names no layer that holds work: which types it computes in is not known",)
    off = [layer for layer in known if layer.compute != precision]
    if not off:
        return ()
    on_cpu = {(layer.compute, layer.provider) for layer in off} == {("fp32", "cpu")}
    if precision is Precision.FP16 and on_cpu and not has_fast_half():
        half = stored.get("fp16", 0)
        return (f"this CPU has no fast half precision: {half} layers are stored in fp16 and computed in fp32",)
    kinds = Counter((layer.kind, layer.compute) for layer in off)
    said = ", ".join(f"{count} {kind} in {compute}" for (kind, compute), count in kinds.most_common())
    names = ", ".join(layer.name for layer in off[:5]) + (", …" if len(off) > 5 else "")
    return (f"{len(off)} of {len(known)} layers do not compute in {precision}: {said} ({names})",)
