"""`deploy compress`: a network made smaller step by step, each judged by the time of its engine.

    steps (`shrinking.py`) ─► all variants measured in one run, one chosen (`weighing.py`)

What is slower than the uncompressed network in the end is not returned, whatever its parameters.
"""

from __future__ import annotations

from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.shrinking import Shrinking
from visiondeploy.pipeline.store import Artifact
from visiondeploy.pipeline.trial import Trial
from visiondeploy.pipeline.weighing import Compressed, Weighing


def compress(ledger: Ledger, network: Artifact) -> Compressed:
    """Take all steps of the recipe and choose. Raises `GateFailed` for a budget that cannot be held."""
    trial = _trial(ledger)
    shrinking = Shrinking(ledger, network, trial)
    return Weighing(ledger, trial, shrinking.steps(), shrinking.wanted).weighed()


def compressed(ledger: Ledger, network: Artifact) -> Artifact:
    """What engines of a network are made from: what compression leaves of it, or itself."""
    return compress(ledger, network).network if ledger.plan.recipe.compress.steps else network


def _trial(ledger: Ledger) -> Trial | None:
    """The backend that variants are timed on: the first of the build's whose engines run here."""
    plan = ledger.plan
    if plan.running is not None:
        return Trial(ledger, plan.running)
    said = "no variant is timed: " + "; ".join(f"{backend.name}: {backend.unrunnable()}" for backend in plan.backends)
    ledger.events.warn(said)
    ledger.notes.append(said)
    return None
