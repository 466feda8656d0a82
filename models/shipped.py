"""Networks that come with the project, trained: each a checkpoint's folder below `pretrained/`."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.models.checkpoint import DESCRIPTION

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
"""Weights that come with the project."""


def shipped_networks() -> dict[str, Path]:
    """The checkpoints' folders by the networks' names, sorted."""
    return {path.parent.name: path.parent for path in sorted(PRETRAINED.glob(f"*/{DESCRIPTION}"))}
