"""A scene as SVG: within a page, whose style sheet gives roles their colours, or as a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from visiondeploy.benchmarks.report.plots.colours import DARK, LIGHT, Palette
from visiondeploy.benchmarks.report.plots.scene import Area, Disc, Group, Line, Point, Scene, Shape, Strokes, Text

MARGIN = 16
"""Pixels around a plot that is a file of its own."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"


def inline(scene: Scene, name: str) -> str:
    """The `svg` element, for a page that defines `rules`; `name` becomes a class of it. No ids, no style attributes."""
    return _element(scene, f'class="plot {escape(name)}"')


def document(scene: Scene) -> str:
    """A file of its own, light or dark as its reader likes."""
    style = f"{rules(LIGHT)}text{{font-family:{FONT};font-variant-numeric:tabular-nums}}"
    dark = f"@media (prefers-color-scheme:dark){{{rules(DARK)}}}"
    width, height = (_n(length + 2 * MARGIN) for length in (scene.width, scene.height))
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    paper = f'<rect class="f-paper" x="{-MARGIN}" y="{-MARGIN}" width="{width}" height="{height}"/>'
    return _element(scene, size, f"<style>{style}{dark}</style>{paper}", MARGIN) + "\n"


def rules(palette: Palette) -> str:
    """Style rules for filled (`f-ROLE`) and drawn (`s-ROLE`) shapes."""
    return "".join(f".f-{role}{{fill:{colour}}}.s-{role}{{stroke:{colour}}}" for role, colour in palette.items())


def _element(scene: Scene, attributes: str, before: str = "", margin: int = 0) -> str:
    edges = (-margin, -margin, scene.width + 2 * margin, scene.height + 2 * margin)
    box = " ".join(map(_n, edges))
    return (
        f'<svg {attributes} viewBox="{box}" role="img" aria-label="{escape(_clean(scene.alt))}">'
        f"{before}{_shapes(scene.shapes)}</svg>"
    )


def _shapes(shapes: Iterable[Shape]) -> str:
    return "".join(map(_shape, shapes))


def _shape(shape: Shape) -> str:
    match shape:
        case Group():
            return f"<g><title>{escape(_clean(shape.title))}</title>{_shapes(shape.shapes)}</g>"
        case Text():
            anchor = f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
            bold = ' font-weight="600"' if shape.bold else ""
            place = f'x="{_n(shape.x)}" y="{_n(shape.y)}" font-size="{_n(shape.size)}"'
            return f'<text class="f-{shape.role}" {place}{anchor}{bold}>{escape(_clean(shape.text))}</text>'
        case Line():
            dashed = ' stroke-dasharray="4 3"' if shape.dashed else ""
            return (
                f'<path class="s-{shape.role}" d="{_path(shape.points)}" fill="none" stroke-width="{_n(shape.width)}"'
                f' stroke-linejoin="round"{dashed}{_faint(shape.opacity)}/>'
            )
        case Strokes():
            height = _n(shape.bottom - shape.top)
            # The same tick twice is no darker in ink, and a second one is no longer to be seen.
            path = "".join(f"M{x} {_n(shape.top)}v{height}" for x in dict.fromkeys(map(_n, shape.xs)))
            return (
                f'<path class="s-{shape.role}" d="{path}" fill="none" stroke-width="{_n(shape.width)}"'
                f"{_faint(shape.opacity)}/>"
            )
        case Area():
            return f'<path {_filled(shape)} d="{_path(shape.points)}Z"{_faint(shape.opacity)}/>'
        case Disc():
            place = f'cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}"'
            return f"<circle {_filled(shape)} {place}{_faint(shape.opacity)}/>"


def _filled(shape: Area | Disc) -> str:
    if shape.outline is None:
        return f'class="f-{shape.role}"'
    return f'class="f-{shape.role} s-{shape.outline}" stroke-width="{_n(shape.width)}"'


def _faint(opacity: float) -> str:
    return f' opacity="{_n(opacity)}"' if opacity < 1 else ""


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(value: float) -> str:
    """Short: a twentieth of a pixel is fine enough, and so it is for opacities."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.005 else "0"


def _clean(text: str) -> str:
    """Text without the letters that XML has no way to write."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
