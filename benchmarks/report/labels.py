"""Where labels of points in a plot stand: beside their points, off each other and off what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""

# Sides that a label may stand on, in the order in which they are tried: degrees, counter-clockwise from the right.
_ANGLES = (0, 180, 45, 315, 135, 225, 90, 270, 22, 338, 158, 202, 67, 293, 113, 247)
_DISTANCES = (5.0, 18.0, 34.0, 52.0)
_PASSES = 3


def choose_places(
    anchors: Sequence[tuple[float, float]],
    radii: Sequence[float],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    within: Box,
) -> list[tuple[float, float]]:
    """The centre of each label, so that labels cover each other, markers and `taken` as little as can be.

    All lengths are in pixels: `anchors` (x, y) of the markers with `radii`, `sizes` (width, height) of the labels.
    Greedy: each label takes the best place in turn, a few times over, as the first ones do not know of the later.
    Among places that are as free the nearest one wins. Deterministic.
    """
    markers = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(anchors, radii, strict=True)]
    placed: dict[int, Box] = {}
    for index in [*range(len(anchors))] * _PASSES:
        radius, size = radii[index], sizes[index]
        costs = []
        labels = [other for number, other in placed.items() if number != index]
        others = [other for number, other in enumerate(markers) if number != index]
        for rank, distance in enumerate(_DISTANCES):
            for order, angle in enumerate(_ANGLES):
                box = _box(_beside(anchors[index], radius + distance, size, angle), size)
                cost = _cost(box, anchors[index], labels, others, taken)
                outside = size[0] * size[1] - _common(box, within)
                costs.append((cost + 6 * outside + 60 * rank, rank, order, box))
        placed[index] = min(costs)[3]
    return [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for _, box in sorted(placed.items())]


def _cost(
    box: Box, anchor: tuple[float, float], labels: Sequence[Box], markers: Sequence[Box], taken: Sequence[Box]
) -> float:
    # Text upon text cannot be read; upon a thin line it can.
    upon = 6 * sum(_common(box, other) for other in (*labels, *markers)) + sum(_common(box, other) for other in taken)
    # A line to a label that stands far off should not run through the marker of another point.
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return upon + 200 * sum(_crosses(anchor, centre, other) for other in (*labels, *markers))


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[tuple[str, bool]],
    radii: Sequence[float],
    segments: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Write labels (text, bold) beside `points`, off each other and off `segments`; both in data coordinates.

    `radii` are those of the markers, in 1/72 inch. `segments` are upright or level. A label that stands far off has
    a thin line to its point. The figure is laid out already, as lengths in pixels are read from it.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    pixels = figure.dpi / 72
    anchors = [_pixel(axes, point) for point in points]
    texts = [
        axes.annotate(
            text,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9.5,
            color="#1f2328",
            linespacing=1.15,
            fontweight="bold" if bold else "normal",
            # Legible upon error bars, which it dims, and below the points, which it must not.
            bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            zorder=2.5,
        )
        for (text, bold), point in zip(labels, points, strict=True)
    ]
    extents = [text.get_window_extent() for text in texts]
    inside = axes.get_window_extent()
    centres = choose_places(
        anchors,
        [radius * pixels for radius in radii],
        [(extent.width + 4, extent.height + 2) for extent in extents],
        [_around(_pixel(axes, start), _pixel(axes, end)) for start, end in segments],
        (inside.x0, inside.y0, inside.x1, inside.y1),
    )
    for text, point, anchor, centre, extent, radius in zip(
        texts, points, anchors, centres, extents, radii, strict=True
    ):
        offset = ((centre[0] - anchor[0]) / pixels, (centre[1] - anchor[1]) / pixels)
        text.set_position(offset)
        # Both lines begin, or end, where the point is.
        clear = abs(offset[0]) * pixels > extent.width / 2
        text.set_multialignment("center" if not clear else "left" if offset[0] > 0 else "right")
        if _gap(anchor, centre, (extent.width, extent.height)) / pixels - radius > _DISTANCES[1] - 4:
            line = {"arrowstyle": "-", "color": "#6a737d", "linewidth": 0.7, "shrinkA": 0, "shrinkB": radius}
            edge = _nearest(offset, (extent.width / pixels + 3, extent.height / pixels + 3))
            axes.annotate("", point, xytext=edge, textcoords="offset points", arrowprops=line, zorder=2)


def _pixel(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    x, y = axes.transData.transform(point)
    return float(x), float(y)


def _around(start: tuple[float, float], end: tuple[float, float], room: float = 3) -> Box:
    (left, right), (bottom, top) = (sorted(pair) for pair in zip(start, end, strict=True))
    return left - room, bottom - room, right + room, top + room


def _beside(
    anchor: tuple[float, float], distance: float, size: tuple[float, float], angle: float
) -> tuple[float, float]:
    """The centre of a label whose nearest edge or corner is `distance` from the anchor, in that direction."""
    x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (
        anchor[0] + distance * x + _side(x) * size[0] / 2,
        anchor[1] + distance * y + _side(y) * size[1] / 2,
    )


def _side(part: float) -> int:
    return 0 if abs(part) < 1e-9 else (1 if part > 0 else -1)


def _nearest(centre: tuple[float, float], size: tuple[float, float]) -> tuple[float, float]:
    """Of a label, the point that is nearest to the origin."""
    x, y = (min(max(0.0, c - s / 2), c + s / 2) for c, s in zip(centre, size, strict=True))
    return x, y


def _box(centre: tuple[float, float], size: tuple[float, float]) -> Box:
    x, y = centre
    return x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2


def _gap(anchor: tuple[float, float], centre: tuple[float, float], size: tuple[float, float]) -> float:
    """From the anchor to the nearest edge of the label."""
    x, y = (max(0.0, abs(a - c) - s / 2) for a, c, s in zip(anchor, centre, size, strict=True))
    return math.hypot(x, y)


def _crosses(start: tuple[float, float], end: tuple[float, float], box: Box) -> bool:
    """Whether the line from start to end runs through the box (Liang and Barsky, 1984)."""
    first, last = 0.0, 1.0
    for at, to, low, high in ((start[0], end[0], box[0], box[2]), (start[1], end[1], box[1], box[3])):
        length = to - at
        if length == 0:
            if not low <= at <= high:
                return False
            continue
        near, far = sorted(((low - at) / length, (high - at) / length))
        first, last = max(first, near), min(last, far)
        if first > last:
            return False
    return True


def _common(one: Box, other: Box) -> float:
    """The area that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
