"""How the pictures of `synthetic` are painted: a country fair in eight classes.

The classes share their colours on purpose: what tells a tent from a house or a balloon is texture and shape,
so that a table of colours, or of places, is no match for a network (tests/models/data/test_synthetic.py).

A picture is the same, bit for bit, on every machine. The random numbers are PCG64's raw 64-bit words, whose
stream NumPy guarantees (it does not for `Generator`'s distributions, NEP 19), and the arithmetic is in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from visiondeploy.types import Array, Image

# 1: first version. Raise it with every change that alters a single pixel: it is part of each digest.
VERSION = 1

CLASSES = ("sky", "meadow", "house", "tree", "tent", "balloon", "pole", "kite")
SKY, MEADOW, HOUSE, TREE, TENT, BALLOON, POLE, KITE = range(len(CLASSES))

Colour = tuple[int, int, int]
_T = TypeVar("_T")

_RED, _ORANGE, _GOLD, _GREEN = (206, 62, 52), (228, 134, 52), (234, 188, 72), (92, 150, 88)
_TEAL, _BLUE, _PLUM, _ROSE = (56, 136, 148), (66, 98, 176), (134, 88, 152), (212, 112, 144)
_CREAM, _WHITE, _STRAW, _SLATE = (244, 236, 216), (238, 236, 232), (248, 222, 168), (84, 96, 116)
_BARK, _CLOUD, _NIGHT, _LAMP = (104, 76, 56), (250, 248, 246), (62, 78, 108), (252, 222, 142)

# What each class may wear. Most colours are worn by several classes, and some by the sky or the meadow too.
_LIGHTS: tuple[Colour, ...] = (_CREAM, _WHITE, _STRAW)
_WALLS: tuple[Colour, ...] = (*_LIGHTS, _ROSE, _GOLD, _ORANGE)
_ROOFS: tuple[Colour, ...] = (_RED, _ORANGE, _SLATE, _TEAL, _PLUM)
_CLOTHS: tuple[Colour, ...] = (_RED, _BLUE)
_SILKS: tuple[Colour, ...] = (_RED, _ORANGE, _GOLD, _BLUE, _PLUM)
_POSTS: tuple[Colour, ...] = (_PLUM, _GREEN, _TEAL)
_PAPERS: tuple[Colour, ...] = ((222, 62, 142), _TEAL, _ORANGE)
_LEAVES: tuple[Colour, ...] = ((70, 128, 72), (104, 146, 66), (208, 128, 56), (74, 116, 118))
_MEADOWS: tuple[Colour, ...] = ((116, 168, 82), (148, 178, 88), (196, 172, 92), (152, 132, 172), (204, 194, 178))
# Colour of the sky above, and at the horizon.
_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((88, 156, 216), (206, 228, 236)),
    ((120, 176, 216), (248, 226, 196)),
    ((122, 116, 178), (246, 184, 150)),
    ((150, 168, 190), (222, 222, 218)),
    ((96, 168, 176), (236, 232, 200)),
    ((226, 158, 132), (250, 222, 168)),
)


def render(size: tuple[int, int], *seed: int) -> tuple[Image, Array]:
    """The picture of a seed: image H×W×3 uint8 RGB and mask H×W uint8, for a size (height, width)."""
    scene = _Scene(_Random(*seed), *size)
    scene.backdrop()
    scene.furnish()
    return scene.photograph(), scene.mask


class _Random:
    """Integers from PCG64's raw words, each the same on every machine and NumPy version."""

    def __init__(self, seed: int, *key: int) -> None:
        self._words = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))

    def between(self, low: int, high: int) -> int:
        """Uniform in low…high, both included (multiply and shift; its bias of about 2⁻³² does not matter here)."""
        return low + ((int(self._words.random_raw()) >> 32) * (max(high, low) - low + 1) >> 32)

    def pick(self, options: Sequence[_T]) -> _T:
        return options[self.between(0, len(options) - 1)]

    def paint(self, options: Sequence[Colour], spread: int = 14) -> Array:
        """One of the colours, each channel shifted by up to `spread`; 3×1×1 int32."""
        return _colour(self.pick(options)) + _colour([self.between(-spread, spread) for _ in range(3)])

    def bytes(self, *shape: int) -> NDArray[np.int16]:
        """Uniform in 0…255."""
        count = int(np.prod(shape))
        words = np.asarray(self._words.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count].reshape(shape).astype(np.int16)


def _colour(channels: Sequence[int]) -> Array:
    return np.array(channels, dtype=np.int32)[:, None, None]


def _mix(one: Array, other: Array, share: Array | int) -> Array:
    """`share`/256 of the other colour."""
    step: Array = (other - one) * share
    mixed: Array = one + (step >> 8)
    return mixed


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """Rows h×1 and columns 1×w, int32."""
    return np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]


@lru_cache(maxsize=64)
def _steps(length: int, cells: int) -> tuple[Array, Array]:
    """For each of `length` pixels its cell, and smoothstep of the place in the cell, in 1/256."""
    place = np.arange(length) * cells * 256 // length
    cell, t = place // 256, place % 256
    return cell, (t * t * (3 * 256 - 2 * t) >> 16).astype(np.int32)


def _ridge(random: _Random, width: int, cells: int) -> Array:
    """Value noise in one dimension: width int32 in 0…255."""
    knots = random.bytes(cells + 1).astype(np.int32)
    cell, weight = _steps(width, cells)
    return _mix(knots[cell], knots[cell + 1], weight)


def _haze(random: _Random, height: int, width: int, rows: int, columns: int) -> Array:
    """Value noise in two dimensions: H×W int32 in 0…255."""
    knots = random.bytes(rows + 1, columns + 1).astype(np.int32)
    cell, weight = _steps(width, columns)
    lines = _mix(knots[:, cell], knots[:, cell + 1], weight)
    cell, weight = _steps(height, rows)
    return _mix(lines[cell], lines[cell + 1], weight[:, None])


class _Scene:
    """A picture in the making: `rgb` 3×H×W int32 and `mask` H×W uint8.

    Lengths are in 1/128 of the picture's shorter side. What is drawn says where it stands: `base` is the row
    of its foot and `x` the column of its middle; what lies off the picture is cut.
    """

    def __init__(self, random: _Random, height: int, width: int) -> None:
        self.random = random
        self.height, self.width = height, width
        self.rgb = np.zeros((3, height, width), dtype=np.int32)
        self.mask = np.full((height, width), SKY, dtype=np.uint8)
        self.horizon = np.zeros(width, dtype=np.int32)

    def pixels(self, low: int, high: int) -> int:
        """A random length, at least one pixel."""
        return max(1, self.random.between(low, high) * min(self.height, self.width) // 128)

    def cut(self, top: int, left: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where a box lies on the picture, and which part of the box that is."""
        above, below = min(max(top, 0), self.height), min(max(top + height, 0), self.height)
        before, after = min(max(left, 0), self.width), min(max(left + width, 0), self.width)
        return np.s_[above:below, before:after], np.s_[above - top : below - top, before - left : after - left]

    def stamp(self, top: int, left: int, inside: Array, colour: Array, label: int) -> None:
        """Paints where `inside` (h×w bool) is set; `colour` is 3×h×w, or 3×1×1 for plain paint."""
        area, seen = self.cut(top, left, *inside.shape)
        visible = inside[seen]
        np.copyto(self.rgb[:, *area], colour if colour.shape[1:] == (1, 1) else colour[:, *seen], where=visible)
        np.copyto(self.mask[area], np.uint8(label), where=visible)

    def box(self, top: int, left: int, colour: Array, label: int) -> None:
        """Paints all of a 3×h×w patch."""
        self.stamp(top, left, np.ones(colour.shape[1:], dtype=bool), colour, label)

    def shadow(self, base: int, x: int, width: int) -> None:
        """Darkens the meadow in a flat ellipse."""
        tall = max(width // 6, 1)
        # In a large picture these squares need 64 bits.
        y, columns = (axis.astype(np.int64) for axis in _grid(2 * tall + 1, width + 1))
        inside = ((y - tall) * width) ** 2 + ((2 * columns - width) * tall) ** 2 <= (tall * width) ** 2
        area, seen = self.cut(base - tall, x - width // 2, *inside.shape)
        ground = self.rgb[:, *area]
        np.copyto(ground, ground * 3 >> 2, where=inside[seen] & (self.mask[area] == MEADOW))

    def backdrop(self) -> None:
        """Sky with clouds, a hazy hill and a meadow; the horizon lies anywhere from an eighth to seven eighths."""
        random, height, width = self.random, self.height, self.width
        y, _ = _grid(height, width)
        above, below = (_colour(channels) for channels in random.pick(_SKIES))
        base = random.between(height // 8, height * 7 // 8)
        sky = _mix(above, below, np.minimum(y * 256 // max(base, height // 3), 256))
        clouds = np.clip(_haze(random, height, width, 5, 3) * 2 - random.between(250, 420), 0, 200)
        sky = _mix(sky, _colour(_CLOUD), clouds)

        near = random.paint(_MEADOWS, spread=10)
        self.horizon = base + ((_ridge(random, width, 3) - 128) * self.pixels(8, 26) >> 7)
        front = self.horizon + self.pixels(4, 14) + (_ridge(random, width, 4) * self.pixels(4, 24) >> 8)
        tone = (_haze(random, height, width, 6, 4) - 128) // 6
        grain = random.bytes(height + 3, width) - 128
        # Blades: noise that is stretched upwards.
        blades = grain[:-3] + grain[1:-2] + grain[2:-1] + grain[3:] >> 3
        flowers = (random.bytes(height, width) > 252) * random.paint(_SILKS) // 3
        grass = near + (tone + blades + np.minimum((y - base) // 4, 16)) + flowers
        hill = _mix(near, below, 84) + (tone + blades >> 1)
        self.rgb = np.where(y < self.horizon, sky, np.where(y < front, hill, grass))
        self.mask[y >= self.horizon] = MEADOW

    def furnish(self) -> None:
        """Balloons, then what stands on the ground from back to front, so that the near hides the far; kites last."""
        random = self.random
        for _ in range(random.pick((0, 1, 2, 3))):
            self.balloon(random.between(0, self.height * 3 // 4), random.between(0, self.width))
        things: list[Callable[[int, int], None]] = []
        things += [self.house] * random.pick((0, 1, 2, 2))
        things += [self.tent] * random.pick((0, 1, 2, 2))
        things += [self.tree] * random.pick((1, 2, 3))
        things += [self.pole] * random.pick((0, 1, 2, 3))
        placed = []
        for draw in things:
            x = random.between(0, self.width - 1)
            placed.append((random.between(int(self.horizon[x]) + 1, self.height + self.height // 16), x, draw))
        for base, x, draw in sorted(placed, key=lambda thing: thing[:2]):
            draw(base, x)
        for _ in range(random.pick((0, 1, 1, 2))):
            self.kite(random.between(self.height // 16, self.height * 3 // 4), random.between(0, self.width - 1))

    def house(self, base: int, x: int) -> None:
        """Bricks with windows under a shingled gable."""
        random = self.random
        width, height, gable = self.pixels(26, 50), self.pixels(18, 32), self.pixels(10, 18)
        course, eave = self.pixels(4, 5), self.pixels(2, 3)
        wall, roof = random.paint(_WALLS), random.paint(_ROOFS)
        joint = _colour((240, 234, 224) if wall.sum() < 560 else (120, 104, 96))
        self.shadow(base, x, width + 2 * eave)

        y, columns = _grid(height, width)
        mortar = (y % course == 0) | ((columns + y // course % 2 * course) % (2 * course) == 0)
        pane, pitch = self.pixels(4, 6), self.pixels(10, 14)
        across, down = (columns - pitch // 4) % pitch, (y - pitch // 4) % pitch
        window = (across < pane) & (down < pane + pane // 2)
        frame = (across == 0) | (down == 0)
        glass = np.where(frame, _colour(_WHITE), _colour(random.pick((_NIGHT, _LAMP))))
        self.box(base - height, x - width // 2, np.where(window, glass, _mix(wall, joint, mortar * 120)), HOUSE)

        span, step = width + 2 * eave, max(course - 1, 2)
        y, columns = _grid(gable, span)
        shingle = (y % step == 0) | ((columns + y // step % 2 * (step // 2)) % step == 0)
        inside = abs(2 * columns - span + 1) * gable <= span * (y + 1)
        self.stamp(base - height - gable, x - span // 2, inside, _mix(roof, roof // 2, shingle * 150), HOUSE)

    def tree(self, base: int, x: int) -> None:
        """A trunk and leaves in three tones; the crown is round or a fir's."""
        random = self.random
        radius, trunk, thick = self.pixels(10, 20), self.pixels(6, 14), self.pixels(3, 5)
        leaf = random.paint(_LEAVES)
        self.shadow(base, x, 2 * radius)
        y, columns = _grid(trunk + radius // 2, thick)
        self.box(base - len(y), x - thick // 2, _colour(_BARK) + columns * 12 + y % 3 * 6, TREE)

        size = 2 * radius + 1
        y, columns = _grid(size, size)
        if random.between(0, 99) < 40:
            # Three storeys, each wider at its foot than the one above.
            storey = max(size // 3, 1)
            rise, floor = y % storey + 1, y // storey
            reach = rise * (radius + floor * radius) // (3 * storey) + floor * radius // 6 + 1
            inside = abs(columns - radius) <= np.minimum(reach, radius)
        else:
            inside = np.zeros((size, size), dtype=bool)
            for _ in range(6):
                part = radius * random.between(45, 70) // 100
                slack = radius - part
                row, column = radius + random.between(-slack, slack), radius + random.between(-slack, slack)
                inside |= (y - row) ** 2 + (columns - column) ** 2 <= part * part
        cell = self.pixels(2, 3)
        clumps = random.bytes(-(-size // cell), -(-size // cell)).repeat(cell, 0).repeat(cell, 1)[:size, :size]
        tone = (clumps // 86 - 1) * 30 + (size - y - columns) * 24 // size
        self.stamp(base - trunk - size, x - radius, inside, leaf + tone, TREE)

    def tent(self, base: int, x: int) -> None:
        """A triangle of chequered cloth with a dark way in."""
        width, height, check = self.pixels(32, 56), self.pixels(24, 38), self.pixels(4, 6)
        one, other = self.random.paint(_CLOTHS), self.random.paint(_LIGHTS)
        self.shadow(base, x, width)
        y, columns = _grid(height, width)
        away = abs(2 * columns - width + 1)
        cloth = np.where((y // check + columns // check) % 2 == 0, one, other) * (272 - columns * 64 // width) >> 8
        door = (away * height <= (y - height // 2) * width // 3) & (y > height // 2)
        inside = away * height <= width * (y + 1)
        self.stamp(base - height, x - width // 2, inside, np.where(door, one // 3, cloth), TENT)

    def balloon(self, middle: int, x: int) -> None:
        """A striped envelope, whose gores meet above and narrow below, and a basket; `middle` is the envelope's."""
        radius = self.pixels(11, 22)
        one, other = self.random.paint(_SILKS), self.random.paint(_SILKS + _LIGHTS)
        size, skirt, basket = 2 * radius + 1, radius // 2, max(radius // 4, 1)
        y, columns = _grid(size + skirt, size)
        # The square root is IEEE's: rounded correctly, so the same everywhere.
        half = np.sqrt(np.maximum(radius**2 - (y - radius) ** 2, 0)).astype(np.int32)
        taper = np.minimum((size + skirt - y) * radius * 5 // (8 * (skirt + radius // 2 + 1)), radius * 3 // 4)
        half = np.where(y > radius * 3 // 2, np.maximum(half, taper), half)
        across = columns - radius
        silk = np.where((across + half) * 7 // (2 * half + 1) % 2 == 0, one, other)
        shaded = silk * (284 - (columns + y) * 40 // size) >> 8
        self.stamp(middle - radius, x - radius, abs(across) <= half, shaded, BALLOON)
        wicker = np.broadcast_to(_colour(_BARK), (3, basket + 1, 2 * basket))
        self.box(middle + radius + 1 + skirt, x - basket, wicker, BALLOON)

    def pole(self, base: int, x: int) -> None:
        """A post with slanting stripes and a knob on top."""
        thick, height, pitch = self.pixels(5, 7), self.pixels(36, 70), self.pixels(7, 10)
        one, other = self.random.paint(_POSTS), self.random.paint(_LIGHTS)
        self.shadow(base, x, thick + self.pixels(4, 6))
        y, columns = _grid(height, thick)
        stripes = np.where((y + columns) % pitch < pitch // 2, one, other) - columns * 40 // thick
        self.box(base - height, x - thick // 2, stripes, POLE)
        y, columns = _grid(thick + 2, thick + 2)
        knob = (2 * y - thick - 1) ** 2 + (2 * columns - thick - 1) ** 2 <= (thick + 2) ** 2
        self.stamp(base - height - thick - 1, x - thick // 2 - 1, knob, one, POLE)

    def kite(self, middle: int, x: int) -> None:
        """A diamond of chevrons with bows on its tail: small and rare."""
        radius, bow, band = self.pixels(10, 15), self.pixels(2, 2), self.pixels(6, 7)
        one, other = self.random.paint(_PAPERS), self.random.paint(_LIGHTS)
        lean = self.random.pick((-1, 0, 1))
        for knot in range(1, 4):
            ribbon = np.broadcast_to(one, (3, bow, bow))
            self.box(middle + radius + (2 * knot - 1) * bow, x + lean * knot * bow - bow // 2, ribbon, KITE)
        y, columns = _grid(2 * radius + 1, 2 * radius + 1)
        inside = abs(y - radius) + abs(columns - radius) <= radius
        bands = np.where((y + abs(columns - radius)) % band < band // 2, one, other)
        self.stamp(middle - radius, x - radius, inside, bands, KITE)

    def photograph(self) -> Image:
        """The picture in uneven light, a little out of focus and with noise, H×W×3 uint8."""
        random = self.random
        y, x = _grid(self.height, self.width)
        down, right = random.between(-50, 50), random.between(-50, 50)
        light = random.between(220, 272) + (2 * y - self.height) * down // (2 * self.height)
        light = light + (2 * x - self.width) * right // (2 * self.width)
        rgb = (self.rgb * light >> 8) + _colour([random.between(-10, 10) for _ in range(3)])
        for across in (rgb, rgb.swapaxes(1, 2)):
            across[:, 1:-1] += across[:, :-2] + across[:, 2:] - 2 * across[:, 1:-1] >> 3
        noise = random.bytes(*rgb.shape) + random.bytes(*rgb.shape) - 255
        rgb += noise * random.between(5, 14) >> 8
        return np.ascontiguousarray(np.clip(rgb, 0, 255).astype(np.uint8).transpose(1, 2, 0))
