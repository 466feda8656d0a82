"""Stage `stylise`: a photograph and a painting to a picture, by optimisation of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.types import Image

# 1: L-BFGS from coarse to fine, distances divided by their slopes
VERSION = 1
TOOLS = ("torch", "pillow")

PICTURE = "picture.png"


def stylise(
    photo: Image,
    painting: Image,
    settings: GatysSettings,
    threads: int,
    work: Path,
    folder: Path,
    report: Callable[[int, int, str], None],
    preview: Callable[[Image], None],
) -> dict[str, Any]:
    """Write the picture of H×W×3 uint8 images, and return the distances to content and style at the end of each scale.

    An interrupted run goes on from `work`. Raises as `load_features` and `models/gatys.py`.
    """
    import torch

    from visiondeploy.models.features import load_features
    from visiondeploy.models.gatys import stylise as run

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = load_features(settings.features).to(device)
    found = run(net, photo, painting, settings, work, report, preview, device)
    Pillow.fromarray(found.picture).save(folder / PICTURE)
    return {"scales": found.history}
