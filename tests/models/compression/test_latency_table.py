"""A table of times as a cost: what was measured, and linear between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.compressible import made

from visiondeploy.models.compression.allocation import smallest
from visiondeploy.models.compression.latency_table import LatencyTable, shapes_to_time
from visiondeploy.models.compression.shapes import LayerShape
from visiondeploy.models.compression.structure import structure_of

DENSE = LayerShape("conv", 8, 8, (3, 3), (1, 1), (1, 1), (1, 1), 1, (12, 16))
DEPTHWISE = replace(DENSE, groups=8)
UNET = structure_of(made("unet"), (48, 64))


def table() -> LatencyTable:
    times = [("dense", DENSE.with_channels(i, o), float(i * o)) for i in (4, 8) for o in (4, 8, 16)]
    times += [("depthwise", DEPTHWISE.with_channels(c, c), float(c)) for c in (4, 8)]
    return LatencyTable(tuple(times))


@given(inputs=st.integers(1, 20), outputs=st.integers(1, 20))
def test_it_is_linear_between_what_was_measured_and_level_beyond(inputs, outputs) -> None:
    expected = min(max(inputs, 4), 8) * min(max(outputs, 4), 16)
    assert table().layer("dense", DENSE.with_channels(inputs, outputs)) == pytest.approx(expected)


def test_depthwise_layers_have_a_line_of_their_own() -> None:
    assert table().layer("depthwise", DEPTHWISE.with_channels(6, 6)) == pytest.approx(6)


def test_a_layer_that_was_not_measured_has_no_time() -> None:
    with pytest.raises(KeyError):
        table().layer("other", DENSE)


def test_layers_of_one_kind_and_size_keep_their_own_numbers_of_channels() -> None:
    """With all in one grid a narrow layer would be clamped where only a wide one was measured."""
    wide, narrow = DENSE.with_channels(64, 8), DENSE.with_channels(8, 64)
    times = [
        (name, shape.with_channels(i, o), float(i * o))
        for name, shape, pairs in (
            ("wide", wide, [(64, 8), (32, 8), (64, 4), (32, 4)]),
            ("narrow", narrow, [(8, 64), (4, 64), (8, 32), (4, 32)]),
        )
        for i, o in pairs
    ]
    found = LatencyTable(tuple(times))
    assert found.layer("wide", DENSE.with_channels(48, 6)) == pytest.approx(48 * 6)
    assert found.layer("narrow", DENSE.with_channels(6, 48)) == pytest.approx(6 * 48)


@pytest.mark.parametrize("separable", [False, True])
def test_the_shapes_to_time_serve_any_allocation(separable) -> None:
    shapes = shapes_to_time(UNET, 4, separable=separable)
    assert len(set(shapes)) == len(shapes)
    found = LatencyTable(tuple((name, shape, 1.0) for name, shape in shapes))
    chosen = frozenset(UNET.replaceable) if separable else frozenset()
    for removed in ({}, smallest(UNET, 4), {"bottom.0": 4}):
        assert UNET.cost(found, removed, chosen) == len(UNET.layers) + len(chosen)


def test_the_network_as_it_is_and_at_its_smallest_is_measured_itself() -> None:
    shapes = set(shapes_to_time(UNET, 4, separable=False))
    for name in UNET.layers:
        assert UNET.shapes(name, {}).items() <= shapes
        assert UNET.shapes(name, smallest(UNET, 4)).items() <= shapes
