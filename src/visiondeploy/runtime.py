"""Bundles in a program of your own, without torch:

from visiondeploy.runtime import load

with load("unet.bundle", key="signer.pub") as model:
    classes = model.predict(image)            # H×W×3 uint8 RGB to H×W uint8
    outputs = model.infer(batch)              # arrays as model.contract says, {name: array}
"""

from __future__ import annotations

from visiondeploy.pipeline.runtime import Model, load

__all__ = ["Model", "load"]
