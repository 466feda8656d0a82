"""Optimisation profiles: every shape that one admits lies between its corners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.backends.tensorrt.profiles import Profile, axes_of, profile_of
from visiondeploy.pipeline.engine import PLAIN, EngineSettings

FREE = (-1, 3, -1, -1)
ranges = st.lists(st.integers(1, 99), min_size=3, max_size=3).map(lambda sizes: tuple(sorted(sizes)))


@given(ranges, ranges, ranges, st.tuples(*[st.integers(1, 99)] * 3))
def test_it_admits_what_lies_in_all_ranges(batch, height, width, sizes) -> None:
    settings = EngineSettings(batch=batch, height=height, width=width)
    profile = profile_of("image", FREE, settings)
    inside = all(low <= size <= high for size, (low, _, high) in zip(sizes, (batch, height, width), strict=True))
    assert profile.admits((sizes[0], 3, *sizes[1:])) == inside
    assert not profile.admits((sizes[0], 4, *sizes[1:]))
    assert not profile.admits(sizes)
    assert all(map(profile.admits, (profile.min, profile.opt, profile.max)))


@pytest.mark.parametrize("axis", ["height", "width"])
def test_a_free_axis_needs_a_range(axis) -> None:
    given = dict.fromkeys({"height", "width"} - {axis}, (8, 8, 8))
    with pytest.raises(
        UsageError, match=rf"the {axis} of input 'image' is free and has no range: set engine\.{axis} ="
    ):
        profile_of("image", FREE, EngineSettings(**given))


def test_a_fixed_axis_takes_no_other_size() -> None:
    assert profile_of("image", (-1, 3, 8, 8), EngineSettings(height=(8, 8, 8))).max == (1, 3, 8, 8)
    with pytest.raises(UsageError, match=r"engine\.width is \[8, 9, 9\], but the width of input 'image' is fixed to 8"):
        profile_of("image", (-1, 3, 8, 8), EngineSettings(width=(8, 9, 9)))
    with pytest.raises(UsageError, match=r"engine\.batch is \[1, 2, 2\], but the batch of input 'image' is fixed to 4"):
        profile_of("image", (4, 3, 8, 8), EngineSettings(batch=(1, 2, 2)))


def test_a_batch_that_nobody_set_is_not_held_against_a_fixed_one() -> None:
    assert profile_of("image", (4, 3, 8, 8), PLAIN).min == (4, 3, 8, 8)


def test_other_inputs_than_images_have_no_ranges() -> None:
    assert profile_of("scale", (2,), PLAIN).opt == (2,)
    with pytest.raises(UsageError, match="axis0 of input 'tokens' is free, and only batch, height and width may be"):
        profile_of("tokens", (-1, 7), PLAIN)


def test_raw_images_have_their_colours_last() -> None:
    settings = EngineSettings(batch=(1, 1, 2), height=(8, 16, 32), width=(4, 4, 4))
    assert profile_of("image", (-1, -1, -1, 3), settings) == Profile((1, 8, 4, 3), (1, 16, 4, 3), (2, 32, 4, 3))
    assert axes_of((-1, 3, -1, 3)) == ("batch", "channels", "height", "width")
    assert axes_of((-1, -1, -1)) == ("batch", "height", "width")


def test_is_written_for_people() -> None:
    assert str(Profile((1, 3), (1, 3), (1, 3))) == "1×3"
    assert str(Profile((1, 3), (2, 3), (8, 3))) == "1×3 to 8×3"
