"""How far a candidate's outputs are from a reference's, accumulated over any number of samples.

SQNR = 10·log10(Σ r² / Σ (r − c)²) over all elements r of the reference and c of the candidate, the sums
taken over all samples before the ratio (as in Nagel et al., "A White Paper on Neural Network
Quantization", 2021, arXiv:2106.08295, there as the signal-to-quantisation-noise ratio of a tensor).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.types import Agreement, Array


class AgreementMeter:
    """Sums in float64, so that memory stays constant however many samples are seen."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._noise = 0.0
        self._absolute = 0.0
        self._largest = 0.0
        self._elements = 0
        self._samples = 0
        self._pixels = 0
        self._pixels_agreeing = 0
        self._nonfinite = 0

    @property
    def nonfinite(self) -> int:
        """Elements of the candidate so far that are NaN or infinite."""
        return self._nonfinite

    def update(
        self,
        reference: Mapping[str, Array],
        candidate: Mapping[str, Array],
        labels_reference: Array | None = None,
        labels_candidate: Array | None = None,
    ) -> None:
        """Add one batch.

        `reference` and `candidate` hold arrays of the same names and shapes, N×… of any numeric dtype, and may be
        empty where outputs are class maps; the labels are integer arrays N×H×W, given for both or for neither.
        Outputs that only the candidate has are not compared.

        Raises InputError where an output is missing or of another shape, or where the reference itself is
        NaN or infinite: there is nothing then to be compared with.
        """
        for name, expected in reference.items():
            if name not in candidate:
                raise InputError(f"the candidate has no output '{name}', it has: {', '.join(sorted(candidate))}.")
            self._add(name, expected, candidate[name])
        if (labels_reference is None) != (labels_candidate is None):
            raise InputError("labels are given for the reference and the candidate or for neither, found one of them.")
        if labels_reference is not None and labels_candidate is not None:
            _same_shape("labels", labels_reference, labels_candidate)
            self._pixels += labels_reference.size
            self._pixels_agreeing += int(np.count_nonzero(labels_reference == labels_candidate))
        first = next(iter(reference.values()), labels_reference)
        if first is not None:
            self._samples += first.shape[0] if first.ndim else 1

    def _add(self, name: str, reference: Array, candidate: Array) -> None:
        _same_shape(f"output '{name}'", reference, candidate)
        expected = np.asarray(reference, dtype=np.float64)
        if not np.isfinite(expected).all():
            raise InputError(f"output '{name}' of the reference is NaN or infinite: check its weights and inputs.")
        found = np.asarray(candidate, dtype=np.float64)
        good = np.isfinite(found)
        self._nonfinite += found.size - int(np.count_nonzero(good))
        # Errors of elements that are not finite are infinite; `result` knows them from their count.
        error = np.subtract(expected, found, out=np.zeros_like(expected), where=good)
        self._signal += float(np.vdot(expected, expected))
        self._noise += float(np.vdot(error, error))
        np.abs(error, out=error)
        self._absolute += float(error.sum())
        self._largest = max(self._largest, float(error.max(initial=0.0)))
        self._elements += expected.size

    def result(self) -> Agreement:
        """What was seen so far. A candidate with a NaN or infinite element has infinite errors and SQNR −∞.

        Where labels alone were compared errors and SQNR are NaN. Raises InputError where nothing was compared.
        """
        if self._elements == self._pixels == 0:
            raise InputError("no outputs were compared: give at least one sample and one output.")
        pixels = self._pixels_agreeing / self._pixels if self._pixels else None
        if self._elements == 0:
            return Agreement(math.nan, math.nan, math.nan, pixels, self._samples)
        if self._nonfinite:
            return Agreement(math.inf, math.inf, -math.inf, pixels, self._samples)
        return Agreement(
            max_abs=self._largest,
            mean_abs=self._absolute / self._elements,
            sqnr_db=_sqnr_db(self._signal, self._noise),
            pixels=pixels,
            samples=self._samples,
        )


def _sqnr_db(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if signal == 0:
        return -math.inf
    # A difference of logarithms: the quotient itself may overflow.
    return 10 * (math.log10(signal) - math.log10(noise))


def _same_shape(what: str, reference: Array, candidate: Array) -> None:
    if reference.shape != candidate.shape:
        raise InputError(
            f"{what} of the candidate has shape {candidate.shape}, the reference's has {reference.shape}: "
            "compare engines of the same input size and outputs."
        )
