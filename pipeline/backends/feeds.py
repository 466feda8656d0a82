"""What a session is fed, checked before its runtime sees it, because runtimes differ in what they let pass.

OpenVINO converts a float64 feed, and takes the last call's where one is missing; ONNX Runtime reads big-endian numbers
as if they were little-endian; PyTorch ignores a name that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from visiondeploy.errors import UsageError
from visiondeploy.types import Array, TensorSpec


class Inputs:
    """The inputs of a session, and what fits them."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        # Every call goes through here: what can be known before is.
        self._known = [(spec.name, np.dtype(spec.dtype), len(spec.shape), _fixed(spec.shape)) for spec in specs]

    def accept(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The feeds in the order of the inputs, C-contiguous: the caller's own arrays, a copy only of one that is not.

        Raises `UsageError` where an input is missing, a name is that of no input, or a feed is not an array of its
        input's dtype and shape.
        """
        if feeds.keys() != self._specs.keys():
            wanted, found = (", ".join(sorted(map(str, names))) or "nothing" for names in (self._specs, feeds))
            raise UsageError(f"the session's inputs are {wanted}, found {found}: feed each of them, and nothing else.")
        accepted: dict[str, Array] = {}
        for name, dtype, rank, fixed in self._known:
            feed = feeds[name]
            if not isinstance(feed, np.ndarray) or feed.dtype != dtype or feed.ndim != rank:
                raise _unfit(self._specs[name], feed)
            shape = feed.shape
            for axis, size in fixed:
                if shape[axis] != size:
                    raise _unfit(self._specs[name], feed)
            accepted[name] = feed if feed.flags.c_contiguous else np.ascontiguousarray(feed)
        return accepted


def _fixed(shape: tuple[int | str, ...]) -> list[tuple[int, int]]:
    """The axes that are not free, with their sizes."""
    return [(axis, size) for axis, size in enumerate(shape) if isinstance(size, int)]


def _unfit(spec: TensorSpec, feed: object) -> UsageError:
    wanted = f"a NumPy array, {np.dtype(spec.dtype)} of shape {_by(spec.shape)}"
    found = f"{feed.dtype} of shape {_by(feed.shape)}" if isinstance(feed, np.ndarray) else f"a {type(feed).__name__}"
    return UsageError(f"input '{spec.name}' takes {wanted}, found {found}: preprocess it as the network was trained.")


def _by(shape: tuple[int | str, ...]) -> str:
    return "×".join(map(str, shape)) or "()"
