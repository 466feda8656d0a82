"""Networks that are small enough for tests."""

from __future__ import annotations

from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.table import NETWORKS

SMALL: dict[str, dict[str, int]] = {"unet": {"base_width": 4, "depth": 2}}
"""Options that make a network small; a network without an entry is tested as it is."""


def spec_of(name: str) -> NetworkSpec:
    """A network of the table for three classes at 32×48."""
    return NetworkSpec(
        architecture=name,
        options=SMALL.get(name, {}),
        task=NETWORKS[name].task,
        classes=("sky", "road", "tree"),
        palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)),
        ignore_index=255,
        input=InputSpec(height=32, width=48),
    )
