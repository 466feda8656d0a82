"""Parameters, sizes and work of layers are those that PyTorch has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visiondeploy.models.compression.shapes import LayerShape

PLAIN = LayerShape("conv", 8, 16, (3, 3), (1, 1), (1, 1), (1, 1), 1, (10, 12))
DEPTHWISE = LayerShape("conv", 8, 8, (3, 3), (1, 1), (1, 1), (1, 1), 8, (10, 12))
LINEAR = LayerShape("linear", 8, 3, (1, 1), (1, 1), (0, 0), (1, 1), 1, (1, 1), bias=True)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def layers(draw: st.DrawFn) -> LayerShape:
    groups = draw(st.integers(1, 3))
    shape = LayerShape(
        draw(st.sampled_from(["conv", "transposed"])),
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        draw(pairs(1, 4)),
        draw(pairs(1, 3)),
        draw(pairs(0, 2)),
        draw(pairs(1, 2)),
        groups,
        draw(pairs(1, 9)),
        draw(st.booleans()),
    )
    assume(min(shape.output) > 0)
    return shape


def module_of(shape: LayerShape) -> nn.Module:
    """PyTorch's layer of that shape."""
    if shape.kind == "linear":
        return nn.Linear(shape.in_channels, shape.out_channels, shape.bias)
    kind = nn.Conv2d if shape.kind == "conv" else nn.ConvTranspose2d
    return kind(
        shape.in_channels,
        shape.out_channels,
        shape.kernel,
        shape.stride,
        shape.padding,
        dilation=shape.dilation,
        groups=shape.groups,
        bias=shape.bias,
    )


@settings(max_examples=60, deadline=None)
@given(layers())
def test_parameters_size_and_work_are_pytorchs(shape: LayerShape) -> None:
    module = module_of(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made = module(torch.zeros(1, shape.in_channels, *shape.size))
    assert shape.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert shape.output == made.shape[2:]
    assert 2 * shape.macs == counter.get_total_flops()


def test_a_linear_layer_is_a_convolution_of_one_pixel() -> None:
    assert LINEAR.output == (1, 1)
    assert LINEAR.macs == 24
    assert LINEAR.parameters == sum(parameter.numel() for parameter in module_of(LINEAR).parameters()) == 27


@pytest.mark.parametrize(("shape", "depthwise"), [(PLAIN, False), (DEPTHWISE, True), (LINEAR, False)])
def test_depthwise_is_what_filters_each_channel_by_itself(shape, depthwise) -> None:
    assert shape.depthwise is depthwise


def test_one_channel_is_not_called_depthwise() -> None:
    assert not PLAIN.with_channels(1, 1).depthwise


def test_other_channels_leave_the_rest() -> None:
    wider = PLAIN.with_channels(5, 7)
    assert (wider.in_channels, wider.out_channels, wider.groups) == (5, 7, 1)
    assert wider.with_channels(8, 16) == PLAIN
    assert DEPTHWISE.with_channels(5, 5).depthwise


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="as many channels before as after, not 4 and 5"):
        DEPTHWISE.with_channels(4, 5)
    grouped = LayerShape("conv", 8, 16, (3, 3), (1, 1), (1, 1), (1, 1), 4, (10, 12))
    with pytest.raises(ValueError, match="no 4 groups of 6 channels to 16"):
        grouped.with_channels(6, 16)
