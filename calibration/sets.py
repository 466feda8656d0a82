"""Which images calibrate a network: enough of every class, and the same for a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POOL = 512
"""How many images of a split are looked through at most: their masks have to be read to know what they show."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Indices into a split, each list ascending: what is observed, and what is held back to judge by."""

    images: tuple[int, ...]
    held_back: tuple[int, ...]


def pool(available: int, seed: int) -> list[int]:
    """The indices to choose among, of `available`, in the order in which they are taken."""
    return [int(index) for index in np.random.default_rng(seed).permutation(available)[:POOL]]


def choose(order: Sequence[int], shown: Sequence[frozenset[str]], images: int, held_back: int) -> Chosen:
    """Choose `images` among `order`, of which `shown` says what each shows, and further ones to hold back.

    Classes have their turns from the rarest to the most frequent: as many of the images as an equal share would be
    have to show it, as far as there are so many. Whatever is left is filled up in order. Of a small split at most
    a quarter is held back; of a single image the same one is observed and judged by.
    """
    held_back = min(held_back, max(1, len(order) // 4))
    images = min(images, max(1, len(order) - held_back))
    classes = sorted(frozenset[str]().union(*shown), key=lambda c: (sum(c in there for there in shown), c))
    taken: dict[int, None] = {}
    share = max(1, images // len(classes)) if classes else 0
    for wanted in classes:
        there = [place for place in range(len(order)) if wanted in shown[place]]
        missing = min(share, len(there)) - sum(place in taken for place in there)
        for place in [place for place in there if place not in taken][: max(0, missing)]:
            if len(taken) < images:
                taken[place] = None
    rest = [place for place in range(len(order)) if place not in taken]
    fill, others = rest[: images - len(taken)], rest[images - len(taken) :]
    chosen = [*taken, *fill]
    return Chosen(
        tuple(sorted(order[place] for place in chosen)),
        tuple(sorted(order[place] for place in (others or chosen)[:held_back])),
    )
