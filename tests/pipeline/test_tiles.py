"""Tiles: what comes out of them is what the whole picture gives, wherever that can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.errors import InputError
from visiondeploy.pipeline.tiles import Tiling, padded_to, tiled
from visiondeploy.types import Array, Image

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ignore(done: int, total: int) -> None:
    pass


def blur(radius: int):
    """A box filter in integers, which pads by repeating the edge."""

    def of(images: Array) -> Array:
        size = 2 * radius + 1
        padded = np.pad(images.astype(np.int64), ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        return (windows.sum(axis=(-2, -1)) // size**2).astype(np.uint8)

    return of


@st.composite
def tilings(draw) -> Tiling:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return Tiling(height, width, draw(st.integers(0, min(height, width) - 1)), draw(st.integers(1, 3)))


@given(SIZES, tilings())
@settings(max_examples=60, deadline=None)
def test_what_changes_nothing_gives_the_very_image_back(size, tiling) -> None:
    image = noise(*size)
    assert np.array_equal(tiled(lambda tiles: tiles, image, tiling, ignore), image)


@given(st.tuples(st.integers(24, 90), st.integers(24, 90)), st.integers(0, 3), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_what_looks_no_farther_than_a_quarter_of_the_overlap_gives_what_the_whole_picture_gives(
    size, radius, more
) -> None:
    image = noise(*size)
    tiling = Tiling(24, 20, min(4 * radius + more, 19), batch=2)
    assert np.array_equal(tiled(blur(radius), image, tiling, ignore), blur(radius)(image[None])[0])


@pytest.mark.parametrize("overlap", [16, 32, 48])
def test_tiles_of_other_brightness_fade_into_each_other(overlap) -> None:
    """Each tile is brighter than the one before by 40; a seam would be a step of that."""
    calls = itertools.count()

    def brighter(tiles: Array) -> Array:
        return np.stack([np.full_like(tile, 40 * (next(calls) % 5)) for tile in tiles])

    found = tiled(brighter, noise(64, 250), Tiling(64, 64, overlap), ignore).astype(int)
    steps = np.abs(np.diff(found, axis=1))
    # Neighbours differ by 160 at most; a raised cosine over overlap / 2 pixels has the slope of π/2 over them.
    assert steps.max() <= np.ceil(160 * np.pi / overlap) + 1
    assert found.max() - found.min() >= 40


def test_no_step_is_left_where_four_tiles_meet() -> None:
    generator = np.random.default_rng(1)

    def brighter(tiles: Array) -> Array:
        return np.stack([np.full_like(tile, generator.integers(100, 156)) for tile in tiles])

    found = tiled(brighter, noise(150, 150), Tiling(64, 64, 32), ignore).astype(int)
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() <= 7


def test_every_tile_has_the_size_that_was_asked_for() -> None:
    seen = []

    def record(tiles: Array) -> Array:
        seen.append(tiles.shape)
        return tiles

    tiled(record, noise(70, 100), Tiling(32, 48, 8, batch=2), ignore)
    assert {shape[1:] for shape in seen} == {(32, 48, 3)}
    assert {shape[0] for shape in seen} == {1, 2}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (5, 3), (31, 32), (200, 7)])
def test_what_is_smaller_than_a_tile_is_padded_by_reflection_and_cropped(height, width) -> None:
    image = noise(height, width)
    seen = []

    def inverse(tiles: Array) -> Array:
        seen.extend(tiles)
        return 255 - tiles

    assert np.array_equal(tiled(inverse, image, Tiling(32, 32, 8), ignore), 255 - image)
    wanted = np.pad(image, ((0, max(0, 32 - height)), (0, 32 - width), (0, 0)), mode="reflect")[:32]
    assert np.array_equal(seen[0], wanted)


def test_padding_leaves_what_is_large_enough() -> None:
    image = noise(4, 5)
    assert padded_to(image, 4, 5) is image


def test_numbers_outside_are_cut_off_and_fractions_rounded() -> None:
    image = noise(3, 3)
    for value, wanted in ((-3.0, 0), (300.0, 255), (7.6, 8), (7.4, 7)):
        found = tiled(lambda tiles, value=value: np.full(tiles.shape, value), image, Tiling(8, 8, 2), ignore)
        assert (found == wanted).all()


def test_progress_counts_tiles() -> None:
    told: list[tuple[int, int]] = []
    tiled(lambda tiles: tiles, noise(50, 50), Tiling(32, 32, 8, batch=2), lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_image_is_not_changed() -> None:
    image = noise(40, 40)
    image.setflags(write=False)
    tiled(lambda tiles: tiles * 0, image, Tiling(16, 16, 4), ignore)


def test_a_result_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="differ in size \\(16×16×3 and 8×8×3\\)"):
        tiled(lambda tiles: tiles[:, ::2, ::2], noise(16, 16), Tiling(16, 16, 4), ignore)


@pytest.mark.parametrize("overlap", [-1, 16, 20])
def test_an_overlap_that_leaves_nothing_is_refused(overlap) -> None:
    with pytest.raises(ValueError, match="does not fit tiles of 16×30"):
        Tiling(16, 30, overlap)
