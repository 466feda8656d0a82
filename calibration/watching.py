"""Two graphs run side by side, a few of their inner tensors at a time, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from visiondeploy.types import Array

AT_ONCE = 6
"""Tensors that are held at the same time, of both graphs."""

Watched = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Computes tensors by name for one sample; a `Probe` of an ONNX graph is one."""

Watch = Callable[[Sequence[str]], Watched]
"""Makes a `Watched` of the named tensors of a graph."""


def side_by_side(
    reference: Watch, candidate: Watch, pairs: Sequence[tuple[str, str]], samples: Sequence[Mapping[str, Array]]
) -> Iterator[tuple[int, Array, Array]]:
    """The values of pairs of tensors, `reference`'s first, each with the place of its pair: once for each sample.

    Each graph is fed what its own tensors before give, so that their errors are in it. `samples` are run once for
    every few pairs, in the order of the pairs. A tensor stands in one pair only.
    """
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        ours, theirs = reference([name for name, _ in some]), candidate([name for _, name in some])
        for feeds in samples:
            expected, given = ours(feeds), theirs(feeds)
            for place, (our, their) in enumerate(some, start):
                yield place, expected.pop(our), given.pop(their)
