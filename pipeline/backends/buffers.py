"""Memory for outputs that is lent to callers, and lent again once nobody refers to it.

A runtime that writes into memory of ours needs no copy of its outputs, but what it returned belongs to the caller for
as long as he likes. Fresh memory for every result would be right and slow: 22 MB of logits are 5,400 pages that the
kernel clears first. CPython knows who holds what: an array that does not own its memory refers to the one that does,
however many views lie between, and so does whatever else reads it in place (a memoryview, a tensor of another library).
The count of references to the owner is therefore at its least exactly when nobody can read the memory any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from visiondeploy.types import Array

Handle = TypeVar("Handle")

KEPT = 2
"""Buffers of one output that are kept: one that the caller still looks at while the next result is computed."""


class Buffer(Generic[Handle]):
    """Memory for one output, and the handle through which the runtime writes to it."""

    __slots__ = ("_memory", "_unlent", "_written", "handle")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], bind: Callable[[Array], Handle]) -> None:
        self._memory: Array = np.empty(shape, dtype)
        # The runtime gets a view of its own, held here: whether it holds that too does not change the owner's count.
        self._written = self._memory.view()
        self._unlent = sys.getrefcount(self._memory)
        self.handle = bind(self._written)

    @property
    def lent(self) -> bool:
        """Whether anybody can still read the memory."""
        return sys.getrefcount(self._memory) != self._unlent

    def lend(self) -> Array:
        """The memory as an array. A new one each time, so that shape and flags are the caller's to set as well."""
        return self._memory.view()


class Pool(Generic[Handle]):
    """Buffers for one output of one shape and dtype; `bind` makes the runtime's handle to an array.

    Not for several threads at a time. Results may be dropped by any.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], bind: Callable[[Array], Handle]) -> None:
        self._shape, self._dtype, self._bind = shape, dtype, bind
        self._buffers: list[Buffer[Handle]] = []

    def take(self) -> Buffer[Handle]:
        """A buffer that nobody reads: the first kept one that is not lent, else a new one.

        Of more than `KEPT` the oldest is forgotten: it is its reader's alone, and goes when he lets it go.
        """
        for buffer in self._buffers:
            if not buffer.lent:
                return buffer
        buffer = Buffer(self._shape, self._dtype, self._bind)
        self._buffers = [*self._buffers, buffer][-KEPT:]
        return buffer
