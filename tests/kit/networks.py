"""Networks that are small enough for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from visiondeploy.models.spec import InputSpec, NetworkSpec, StyleSpec
from visiondeploy.models.table import NETWORKS

SMALL: dict[str, dict[str, int]] = {
    "unet": {"base_width": 4, "depth": 2},
    "style": {"width": 4, "blocks": 1},
    "style-multi": {"width": 4, "blocks": 1},
    "style-adain": {"width": 4},
}
"""Options that make a network small; a network without an entry is tested as it is."""

STYLE = StyleSpec(names=("waves", "stars"), digests=("0" * 64, "1" * 64), features="mobilenet", weights="", size=64)


def spec_of(name: str) -> NetworkSpec:
    """A network of the table at 32×48, for three classes or in two styles."""
    task = NETWORKS[name].task
    if task == "style":
        kinds: dict[str, object] = {"style": STYLE}
    else:
        kinds = {"classes": ("sky", "road", "tree"), "palette": ((0, 0, 0), (1, 1, 1), (2, 2, 2))}
    return NetworkSpec.model_validate(
        {
            "architecture": name,
            "options": SMALL.get(name, {}),
            "task": task,
            "input": InputSpec(height=32, width=48),
            **kinds,
        }
    )


def fed(spec: NetworkSpec, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Random inputs of a network: images, and what says the style where it is told."""
    second = NETWORKS[spec.architecture].second
    images = torch.randn(batch, 3, height, width)
    if second == "weights":
        return images, torch.eye(len(spec.kinds))[torch.arange(batch) % len(spec.kinds)]
    return (images,) if second is None else (images, torch.randn(batch, 3, height, width))
