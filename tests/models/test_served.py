"""A PyTorch module with raw images in and class maps out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.networks import spec_of
from kit.photos import photos
from torch import Tensor, nn

from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.served import ENDINGS, Served, served
from visiondeploy.models.tasks.table import task_of
from visiondeploy.types import Ending

SPEC = spec_of("unet")
RAW = SPEC.model_copy(update={"io": "uint8"})


class Kept(nn.Module):
    """Gives its input as logits, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.empty(0)

    def forward(self, image: Tensor) -> Tensor:
        self.seen = image
        return image


def every_value() -> np.ndarray:
    """1×32×48×3, every value of a pixel in every channel."""
    return (np.arange(32 * 48 * 3).reshape(1, 32, 48, 3) // 3 % 256).astype(np.uint8)


def test_the_network_sees_the_bits_that_preprocessing_makes() -> None:
    image = every_value()
    bare = Kept()
    Served(bare, SPEC.input, Ending.CLASSES)(torch.from_numpy(image))
    assert np.array_equal(bare.seen.numpy(), task_of(SPEC).preprocess(photos(*image))["image"])
    assert bare.seen.is_contiguous(), "a layout of its own would be faster or slower, and is not what is compared"


SMALL_INTEGERS = np.random.default_rng(0).integers(0, 3, (2, 5, 16, 16)).astype(np.float32)
"""Many are equal."""
AROUND_A_PICTURE = np.random.default_rng(0).uniform(-0.2, 1.2, (2, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize(
    ("architecture", "ending", "values"),
    [("unet", Ending.CLASSES, SMALL_INTEGERS), ("style", Ending.PIXELS, AROUND_A_PICTURE)],
)
def test_an_ending_is_what_the_task_says_it_is(architecture, ending, values) -> None:
    found = ENDINGS[ending]()(torch.from_numpy(values))
    task = task_of(spec_of(architecture).model_copy(update={"io": "uint8"}))
    assert task.ending is ending
    bare = task_of(spec_of(architecture))
    (expected,) = task.finish({bare.outputs[0]: values}).values()
    assert (found.numpy().dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found.numpy(), expected)


def test_a_bare_network_stays_as_it_is() -> None:
    network = new_network(SPEC, seed=0)
    assert served(network) is network.module
