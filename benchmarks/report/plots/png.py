"""A scene as a picture, drawn by matplotlib without its global state and with its own defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from visiondeploy.benchmarks.report.plots.colours import LIGHT
from visiondeploy.benchmarks.report.plots.scene import Area, Disc, Group, Line, Point, Scene, Shape, Strokes, Text
from visiondeploy.benchmarks.report.plots.svg import MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALE = 2
"""Pixels of the picture for one of the scene."""

_DPI = 72 * SCALE
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def save(scene: Scene, stream: BinaryIO) -> None:
    """Write the scene on white as PNG, `SCALE` times as large; the same scene gives the same bytes."""
    with _defaults():
        from matplotlib.figure import Figure

        width, height = scene.width + 2 * MARGIN, scene.height + 2 * MARGIN
        figure = Figure(figsize=(width / 72, height / 72), dpi=_DPI, facecolor=LIGHT["paper"])
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-MARGIN, width - MARGIN)
        axes.set_ylim(height - MARGIN, -MARGIN)
        for order, shape in enumerate(_flat(scene.shapes)):
            _draw(axes, shape, order)
        # The name of the library would make files differ that show the same.
        figure.savefig(stream, format="png", metadata={"Software": None})


@contextmanager
def _defaults() -> Iterator[None]:
    """Settings of matplotlib that no file of the user's has changed."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("text", parse_math=False)  # a name may hold dollar signs
        yield


def _flat(shapes: Sequence[Shape]) -> Iterator[Line | Strokes | Area | Disc | Text]:
    for shape in shapes:
        if isinstance(shape, Group):
            yield from _flat(shape.shapes)
        else:
            yield shape


def _draw(axes: Axes, shape: Line | Strokes | Area | Disc | Text, order: int) -> None:
    from matplotlib.patches import Circle, Polygon

    match shape:
        case Text():
            axes.text(
                shape.x,
                shape.y,
                shape.text,
                # DejaVu, which matplotlib carries, is wider than what browsers set.
                fontsize=shape.size * 0.86,
                color=LIGHT[shape.role],
                ha=_ANCHORS[shape.anchor],
                va="baseline",
                fontweight="bold" if shape.bold else "normal",
                zorder=order,
            )
        case Line():
            _stroke(axes, shape.points, shape, order, dashed=shape.dashed)
        case Strokes():
            upright = [point for x in shape.xs for point in ((x, shape.top), (x, shape.bottom), (x, float("nan")))]
            _stroke(axes, upright, shape, order)
        case Area():
            axes.add_patch(Polygon(shape.points, closed=True, **_filled(shape, order)))
        case Disc():
            axes.add_patch(Circle((shape.x, shape.y), shape.radius, **_filled(shape, order)))


def _stroke(axes: Axes, points: Sequence[Point], shape: Line | Strokes, order: int, *, dashed: bool = False) -> None:
    xs, ys = zip(*points, strict=True)
    style = (0, (4, 3)) if dashed else "-"
    axes.plot(xs, ys, color=LIGHT[shape.role], lw=shape.width, alpha=shape.opacity, ls=style, zorder=order)


def _filled(shape: Area | Disc, order: int) -> dict[str, object]:
    edge = "none" if shape.outline is None else LIGHT[shape.outline]
    return {
        "facecolor": LIGHT[shape.role],
        "edgecolor": edge,
        "linewidth": shape.width,
        "alpha": shape.opacity,
        "zorder": order,
    }
