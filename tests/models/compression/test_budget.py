"""What a compressed network may cost, as people write it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.models.compression.budget import Budget, parse_budget

RELATIVE, ABSOLUTE = True, False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency=0.5x", Budget("latency", 0.5, RELATIVE)),
        ("latency=0.5×", Budget("latency", 0.5, RELATIVE)),
        ("latency=.5x", Budget("latency", 0.5, RELATIVE)),
        ("latency=1x", Budget("latency", 1.0, RELATIVE)),
        ("latency=20ms", Budget("latency", 20.0, ABSOLUTE)),
        ("latency=2.5 ms", Budget("latency", 2.5, ABSOLUTE)),
        (" params = 0.2x ", Budget("params", 0.2, RELATIVE)),
        ("params=1.5M", Budget("params", 1.5e6, ABSOLUTE)),
        ("params=300k", Budget("params", 3e5, ABSOLUTE)),
        ("params=12345", Budget("params", 12345.0, ABSOLUTE)),
        ("macs=3.2G", Budget("macs", 3.2e9, ABSOLUTE)),
        ("macs=0.1x", Budget("macs", 0.1, RELATIVE)),
    ],
)
def test_what_is_meant(text: str, expected: Budget) -> None:
    assert parse_budget(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no budget"),
        ("latency", "is no budget"),
        ("0.5x", "is no budget"),
        ("time=0.5x", "is no budget"),
        ("latency=fast", "is no budget"),
        ("latency=-0.5x", "is no budget"),
        ("latency=50%", "is no budget"),
        ("latency=20s", "is no budget"),
        ("latency=0.5x, params=0.5x", "is no budget"),
        ("latency=1e-3x", "is no budget"),
        ("latency=nanx", "is no budget"),
        ("params=1.5T", "is no budget"),
        ("latency=0.5x\nparams", "is no budget"),
        ("latency=0x", "leaves nothing"),
        ("params=0", "leaves nothing"),
        (f"params={'9' * 400}", "leaves nothing"),
        ("latency=1.1x", "allows more than the network costs as it is"),
        ("params=50x", "allows more than the network costs as it is"),
        ("latency=20", "has no unit of latency"),
        ("latency=20M", "has no unit of latency"),
        ("params=20ms", "has no unit of params"),
        ("macs=20ms", "has no unit of macs"),
    ],
)
def test_what_is_none_is_one_sentence_that_says_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_budget(text)
    message = str(error.value)
    assert "write latency=0.5x, latency=20ms, params=0.2x" in message
    assert "\n" not in message
    assert len(message) < 250


@given(st.text(max_size=30))
def test_any_text_is_a_budget_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_budget(text).amount > 0


@given(st.floats(0.001, 1), st.floats(1, 1e12))
def test_a_share_is_of_what_it_costs_and_an_amount_is_not(share: float, whole: float) -> None:
    assert Budget("macs", share, RELATIVE).limit(whole) == share * whole
    assert Budget("macs", 7e6, ABSOLUTE).limit(whole) == 7e6
