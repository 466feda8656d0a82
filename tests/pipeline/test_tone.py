"""Tone: tiles that know only themselves get the colours of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from visiondeploy.pipeline.tiles import Tiling, tiled, to_bytes
from visiondeploy.pipeline.tone import is_local, shrunk, toned
from visiondeploy.types import Array, Image


def normalised(tiles: Array) -> Array:
    """What instance norm does to a picture: each tile gets the same mean and contrast."""
    found = tiles.astype(np.float32)
    axes = (1, 2)
    mean, spread = found.mean(axis=axes, keepdims=True), found.std(axis=axes, keepdims=True)
    return to_bytes((found - mean) / np.maximum(spread, 1) * 50 + 128)


def brighter(tiles: Array) -> Array:
    return np.minimum(tiles.astype(np.uint16) + 20, 255)


def scene(height: int, width: int) -> Image:
    """Dark at the left, bright at the right, with fine grain."""
    ramp = np.linspace(20, 200, width)[None, :, None]
    grain = np.random.default_rng(0).integers(-20, 21, (height, width, 3))
    return to_bytes(ramp + grain)


def low(picture: Array) -> Array:
    """Means of blocks of 40×40."""
    return picture.astype(float).reshape(picture.shape[0] // 40, 40, -1, 40, 3).mean(axis=(1, 3))


def test_instance_norm_looks_as_far_as_its_tile_and_a_filter_does_not() -> None:
    for image in (scene(64, 64), 255 - scene(64, 64)):
        assert not is_local(normalised, image)
        assert is_local(brighter, image)


@pytest.mark.parametrize("value", [0, 127, 255])
def test_so_it_is_of_a_flat_picture(value) -> None:
    image = np.full((64, 64, 3), value, dtype=np.uint8)
    assert not is_local(lambda tiles: np.full_like(tiles, tiles.mean()), image)
    assert is_local(brighter, image)


def test_one_pixel_is_no_problem() -> None:
    image = np.full((1, 1, 3), 9, dtype=np.uint8)
    is_local(brighter, image)
    assert np.array_equal(toned(image, image), image)


def test_tiles_get_the_colours_of_the_whole() -> None:
    image = scene(160, 640)
    wanted = low(normalised(image[None])[0])
    picture = tiled(normalised, image, Tiling(128, 128, 32), lambda done, total: None)
    guide = normalised(shrunk(image, 128, 128)[None])[0]
    before, after = (np.abs(low(found) - wanted).mean() for found in (picture, toned(picture, guide)))
    assert before > 25
    assert after < before / 3


def test_fine_structure_stays() -> None:
    image = scene(160, 160)
    found = toned(image, np.full((64, 64, 3), 128, dtype=np.uint8)).astype(float)
    assert np.abs(found.mean() - 128) < 2
    grain = np.diff(image.astype(float), axis=0)
    assert np.corrcoef(np.diff(found, axis=0).ravel(), grain.ravel())[0, 1] > 0.99


def test_a_picture_that_has_the_tone_stays_as_it_is() -> None:
    image = np.full((700, 300, 3), (10, 120, 240), dtype=np.uint8)
    assert np.array_equal(toned(image, np.full((64, 96, 3), (10, 120, 240), dtype=np.uint8)), image)


def test_there_is_no_step_between_strips_and_cells() -> None:
    picture = np.full((600, 400, 3), 128, dtype=np.uint8)
    guide = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    found = toned(picture, guide).astype(int)
    # Cells are 150 × 133 pixels here, and means of 2 × 2 colours.
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() <= 4
    assert found.std() > 10


def test_the_whole_at_another_size() -> None:
    image = scene(100, 200)
    found = shrunk(image, 50, 40)
    assert found.shape == (50, 40, 3)
    assert abs(found.mean() - image.mean()) < 2
