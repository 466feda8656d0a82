"""A shuffle that is written out moves the same values."""

from __future__ import annotations

import numpy as np
import pytest
from kit.rewriting import kinds, model_of, normal, run
from onnx import helper

from visiondeploy.calibration.shuffles import written_out


def shuffled(mode: str, size: tuple[int, int] | None, blocks: int = 2):
    node = helper.make_node("DepthToSpace", ["image"], ["out"], blocksize=blocks, mode=mode)
    return model_of([node], 3 * blocks**2, {}, size)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("blocks", [2, 3])
def test_it_moves_the_same_values_with_channels_last(mode: str, blocks: int) -> None:
    model, image = shuffled(mode, (4, 5), blocks), normal(0, 2, 3 * blocks**2, 4, 5)
    found = written_out(model)
    assert kinds(found) == ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]
    assert np.array_equal(run(found, image), run(model, image))


def test_where_the_size_is_free_it_stays() -> None:
    model = shuffled("DCR", None)
    assert written_out(model) == model
