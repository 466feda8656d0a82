"""Confusion matrices of images, and engines that lose a known amount of mIoU on them.

A population of images is either made up after CamVid's (Brostow et al., "Semantic object classes in video", Pattern
Recognition Letters 30(2), 2009): eleven classes from a third of the pixels to half a percent, of which the rare ones
are in some images only; or it is what a real network gave on real images, which are then drawn with replacement.

An engine's predictions are the baseline's with pixels flipped both ways, as quantisation does: of each image a share of
its right pixels is put into another class, and wrong ones are put right, as many on average as a part of those
(`Spread`). Both are log-normal over images and drawn apart, so that a few images lose several times as much as most,
and the engine is better on some. The loss is what the whole population loses; how much has to be flipped for it is
found by bisection. How often a loss is found depends on that spread: half of an interval is told beside the results, to
be held against that of a real engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visiondeploy.types import Array

PIXELS = 360 * 480
# Share of the pixels, share of the images that have the class, and share of its pixels that are right.
CLASSES = {
    "road": (0.300, 1.00, 0.95),
    "building": (0.250, 0.99, 0.88),
    "sky": (0.170, 0.98, 0.95),
    "tree": (0.110, 0.97, 0.85),
    "pavement": (0.060, 0.95, 0.82),
    "car": (0.040, 0.85, 0.80),
    "fence": (0.022, 0.45, 0.55),
    "sign": (0.013, 0.80, 0.55),
    "pole": (0.012, 0.99, 0.45),
    "pedestrian": (0.010, 0.70, 0.55),
    "bicyclist": (0.013, 0.35, 0.60),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """How images differ in what an engine changes on them.

    `images` is the standard deviation of the logarithm of an image's share of flipped pixels: at 0.7 one in six has
    twice the median. `regained` is how many wrong pixels are put right for each right one that is put wrong.
    """

    images: float = 0.7
    regained: float = 0.35


def miou(rows: Array) -> float:
    """mIoU of confusion matrices (n, C, C) taken together, truth by rows; a class that is nowhere is left out."""
    total = rows.reshape(-1, *rows.shape[-2:]).sum(axis=0).astype(np.float64)
    hit = np.diagonal(total)
    union = total.sum(axis=0) + total.sum(axis=1) - hit
    seen = union > 0
    return float(np.mean(hit[seen] / union[seen]))


def made_up(images: int, seed: int) -> Array:
    """Confusion matrices (images, 11, 11) int64 of a baseline on images like CamVid's; mIoU is about 0.6."""
    generator = np.random.default_rng(seed)
    share, present, right = (np.array(column) for column in zip(*CLASSES.values(), strict=True))
    here = generator.random((images, len(share))) < present
    area = here * (share / present) * generator.lognormal(0, 0.6, (images, len(share)))
    area /= area.sum(axis=1, keepdims=True)
    truth = np.rint(area * PIXELS).astype(np.int64)
    rows = np.zeros((images, len(share), len(share)), np.int64)
    for index in range(len(share)):
        kept = generator.beta(8 * right[index], 8 * (1 - right[index]), images)
        others = generator.gamma(0.5 + 4 * share, 1.0, (images, len(share)))
        others[:, index] = 0
        others *= ((1 - kept) / others.sum(axis=1))[:, None]
        others[:, index] = kept
        rows[:, index] = generator.multinomial(truth[:, index], others)
    return rows


@dataclass(frozen=True, slots=True)
class Population:
    """Images, of which row i of both stacks (n, C, C) is one: what the baseline says and what the engine says.

    `loss` is by how much the engine's mIoU is below the baseline's on all of them, in points.
    """

    baseline: Array
    engine: Array

    @property
    def loss(self) -> float:
        """In points of 100."""
        return (miou(self.baseline) - miou(self.engine)) * 100

    def drawn(self, images: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """A validation set: both stacks of that many images, drawn at random with replacement."""
        index = generator.integers(len(self.baseline), size=images)
        return self.baseline[index], self.engine[index]


def losing(baseline: Array, points: float, seed: int, spread: Spread) -> Population:
    """An engine that loses so many points of mIoU on the images (n, C, C) of the baseline, to 2 % of that."""
    low, high = 0.0, 0.5
    for _ in range(40):
        share = (low + high) / 2
        found = Population(baseline, _flipped(baseline, share, seed, spread))
        if abs(found.loss - points) <= 0.02 * points:
            break
        low, high = (share, high) if found.loss < points else (low, share)
    return found


def _flipped(rows: Array, share: float, seed: int, spread: Spread) -> Array:
    generator = np.random.default_rng(seed)
    classes = rows.shape[-1]
    shares = share * generator.lognormal(-(spread.images**2) / 2, spread.images, (2, len(rows)))
    popular = rows.sum(axis=(0, 1)) + 1.0
    out = rows.copy()
    for true in range(classes):
        right = rows[:, true, true]
        lost = generator.binomial(right, np.minimum(shares[0], 1))
        into = popular / (popular.sum() - popular[true])
        into[true] = 0
        out[:, true, true] -= lost
        out[:, true] += generator.multinomial(lost, into)
        wrong = rows[:, true].copy()
        wrong[:, true] = 0
        # As many on average as a share of the right ones, but no more than there are.
        rate = spread.regained * shares[1] * right / np.maximum(wrong.sum(axis=1), 1)
        regained = generator.binomial(wrong, np.minimum(rate, 1)[:, None])
        out[:, true] -= regained
        out[:, true, true] += regained.sum(axis=1)
    return out
