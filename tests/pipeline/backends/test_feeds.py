"""What a session accepts; that each session does so is a contract of all backends."""

from __future__ import annotations

import numpy as np
import pytest

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.types import TensorSpec

IMAGE, SCALE = TensorSpec("image", "uint8", ("batch", "height", "width", 3)), TensorSpec("scale", "float32", ())
FEEDS = {"scale": np.array(2, np.float32), "image": np.zeros((2, 4, 5, 3), np.uint8)}


def test_contiguous_feeds_are_passed_on_themselves_in_the_order_of_the_inputs() -> None:
    found = Inputs([IMAGE, SCALE]).accept(FEEDS)
    assert list(found) == ["image", "scale"]
    assert all(found[name] is FEEDS[name] for name in FEEDS)


def test_a_feed_that_is_not_contiguous_is_copied() -> None:
    image = np.zeros((2, 4, 10, 3), np.uint8)[:, :, ::2]
    found = Inputs([IMAGE, SCALE]).accept(FEEDS | {"image": image})
    assert found["image"].flags.c_contiguous
    assert not np.shares_memory(found["image"], image)


def test_a_free_axis_takes_any_size_and_no_other_rank() -> None:
    accept = Inputs([IMAGE]).accept
    assert accept({"image": np.zeros((7, 1, 9, 3), np.uint8)})["image"].shape == (7, 1, 9, 3)
    for shape in ((4, 5, 3), (1, 4, 5, 1), (1, 3, 4, 5), (1, 1, 4, 5, 3), ()):
        with pytest.raises(
            UsageError, match=r"takes a NumPy array, uint8 of shape batch×height×width×3, found uint8 of"
        ):
            accept({"image": np.zeros(shape, np.uint8)})


def test_a_network_without_inputs_takes_nothing() -> None:
    assert Inputs([]).accept({}) == {}
    with pytest.raises(UsageError, match="inputs are nothing, found image"):
        Inputs([]).accept({"image": FEEDS["image"]})


@pytest.mark.parametrize("scale", [2.0, np.float32(2), [2.0], None])
def test_what_is_no_array_is_named(scale) -> None:
    with pytest.raises(UsageError, match=r"'scale' takes a NumPy array, float32 of shape \(\), found a \w+: "):
        Inputs([IMAGE, SCALE]).accept(FEEDS | {"scale": scale})
