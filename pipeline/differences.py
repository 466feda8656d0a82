"""What a comparison found: how far each tensor is from the reference's, the first one that parts, and a sentence."""

from __future__ import annotations

import json
import math
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.benchmarks.report.schema import AgreementRow
from visiondeploy.pipeline import gate
from visiondeploy.types import Array, Outcome

# 1: reference, candidate, images, limit_db, limit_pixels, layers, outputs, left_out, notes, first, worst, diverges,
#    conclusion
SCHEMA: Literal["visiondeploy.comparison/1"] = "visiondeploy.comparison/1"


class TensorMeter:
    """The agreement of one tensor over samples, and the cosine of the angle between all its values.

    cos = Σ r·c / √(Σ r² · Σ c²) over all elements r of the reference and c of the candidate: 1 where both are zero
    everywhere, 0 where one of them is.

    Polygraphy's comparator says the same of one sample (a test holds it), and is not used here: its decibels cannot
    be put together to those of all samples, which is what a build's parity is in, and for 16×368×480 values 0.53.6
    takes 1.0 s of processor time for maximum, SNR and cosine, since the maximum comes with medians and a histogram.
    This takes 0.02 s.
    """

    def __init__(self) -> None:
        self._agreement = AgreementMeter()
        self._products = np.zeros(3)
        self._samples, self._finite = 0, True

    def update(self, reference: Array, candidate: Array) -> None:
        """Add one sample of equal shapes. NaN or infinity in either makes the result one of no finite numbers."""
        expected, given = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
        self._samples += 1
        self._finite = self._finite and bool(np.isfinite(expected).all() and np.isfinite(given).all())
        if self._finite:
            self._agreement.update({"": expected}, {"": given})
            self._products += [np.vdot(expected, expected), np.vdot(given, given), np.vdot(expected, given)]

    def result(self) -> tuple[AgreementRow, float | None]:
        """The agreement and the cosine, which is None where a value is not finite."""
        if not self._finite:
            return AgreementRow(finite=False, samples=self._samples), None
        ours, theirs, both = self._products
        if ours == 0 or theirs == 0:
            return AgreementRow.of(self._agreement.result()), float(ours == theirs)
        cosine = float(both / (math.sqrt(ours) * math.sqrt(theirs)))
        return AgreementRow.of(self._agreement.result()), min(1.0, max(-1.0, cosine))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Difference(_Part):
    """One tensor: name and kind of the layer that makes it, its own name, and how far it is from the reference's."""

    name: str
    kind: str
    tensor: str
    agreement: AgreementRow
    cosine: Annotated[float, Field(ge=-1, le=1)] | None


class Comparison(_Part):
    """Tensors in graph order, and the outputs of both as they run. `left_out` says why a tensor is not in `layers`."""

    schema_name: Literal["visiondeploy.comparison/1"] = Field(default=SCHEMA, alias="schema")
    reference: str
    candidate: str
    images: PositiveInt
    limit_db: float
    limit_pixels: float
    layers: tuple[Difference, ...]
    outputs: AgreementRow
    left_out: dict[str, str]
    notes: tuple[str, ...]

    def holds(self, found: AgreementRow) -> bool:
        """Whether the SQNR reaches its limit; of class maps, which have none, the share of pixels that agree."""
        if found.outputs == "classes":
            return gate.classes_check("classes", found, self.limit_pixels).status is Outcome.PASS
        return gate.parity_check("SQNR", found, self.limit_db, None).status is Outcome.PASS

    @property
    def first(self) -> Difference | None:
        """The first tensor below the limit; None where there is none."""
        return next((layer for layer in self.layers if not self.holds(layer.agreement)), None)

    @property
    def worst(self) -> Difference | None:
        """The tensor with the lowest SQNR, the first of equals; None where there are no tensors."""
        return min(self.layers, key=lambda layer: decibels(layer.agreement), default=None)

    @property
    def diverges(self) -> bool:
        """Whether a tensor or the outputs are below the limit."""
        return self.first is not None or not self.holds(self.outputs)

    @property
    def conclusion(self) -> str:
        """All of it in a sentence."""
        limit, outputs = f"{self.limit_db:g} dB", f"the outputs have {said(self.outputs)}"
        if self.first is not None:
            return f"first layer below {limit}: {self.first.name} ({said(self.first.agreement)}); {outputs}"
        if self.worst is None:
            return f"no inner tensor could be compared; {outputs}"
        if self.worst.agreement.exact and self.outputs.exact:
            return "no layer differs, and neither do the outputs"
        lowest = f"no layer is below {limit}, the lowest is {self.worst.name} ({said(self.worst.agreement)})"
        if self.holds(self.outputs):
            return f"{lowest}; {outputs}"
        return f"{lowest}, yet {outputs}: what is fused as they run, and not where tensors are read, is at fault"

    def to_json(self) -> str:
        """The same as JSON text, with a final newline."""
        content = self.model_dump(mode="json", by_alias=True)
        content |= {
            "first": self.first.name if self.first else None,
            "worst": self.worst.name if self.worst else None,
            "diverges": self.diverges,
            "conclusion": self.conclusion,
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def said(found: AgreementRow) -> str:
    """An SQNR in words; of class maps the share that agrees."""
    if found.exact:
        return "no error"
    if found.outputs == "classes":
        return f"{found.pixels:.2%} of their classes"
    if not found.finite:
        return "NaN or infinity"
    return "zero in the reference alone" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"


def decibels(found: AgreementRow) -> float:
    """An SQNR that can be ordered: infinite where there is no error, and below all where it is no number."""
    if found.sqnr_db is not None:
        return found.sqnr_db
    return math.inf if found.exact else -math.inf
