"""Pictures as samples without a truth."""

from __future__ import annotations

from visiondeploy.types import Image, Sample


def photos(*images: Image) -> list[Sample]:
    """A sample for each picture H×W×3 uint8."""
    return [Sample(f"photo-{number}", image, None) for number, image in enumerate(images)]
