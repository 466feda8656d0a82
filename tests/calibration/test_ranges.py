"""The ranges file can be read by people, and serves no other network."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.calibration.observers import AFFINE_UINT8, SYMMETRIC_INT8, Range
from visiondeploy.calibration.ranges import CalibrationData, NetworkKey, Ranges, parse_ranges
from visiondeploy.errors import InputError

KEY = NetworkKey(weights="a" * 64, graph="b" * 64, preprocessing={"height": 4, "width": 6, "mean": [0, 0, 0]})
DATA = CalibrationData(dataset="toys", split="train", digest="c" * 64, images=("000", "004"))


def ranges(**changes) -> Ranges:
    content = {
        "network": KEY,
        "data": DATA,
        "observer": "mse",
        "codes": "uint8",
        "channel_scales": {"relu": (0.5, 2.0)},
        "seen": {"relu": (0.0, 9.0)},
        "ranges": {"image": (-1.0, 1.0), "relu": (0.0, 6.5)},
    }
    return Ranges(**(content | changes))


def test_what_was_written_is_read_back() -> None:
    made = ranges()
    read = parse_ranges(made.to_json(), "ranges.json")
    assert read == made
    assert read.by_tensor == {"image": Range(-1.0, 1.0), "relu": Range(0.0, 6.5)}
    assert read.scales["relu"].tolist() == [0.5, 2.0]


@given(st.dictionaries(st.text(max_size=5), st.tuples(st.floats(-1e30, 0), st.floats(0, 1e30)), max_size=4))
def test_every_range_and_every_name_is_kept_as_it_is(found) -> None:
    assert parse_ranges(ranges(ranges=found).to_json(), "x").ranges == found


def test_a_tensor_has_a_line_of_its_own() -> None:
    assert '  "relu": [0.0, 6.5]\n' in ranges().to_json()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": "d" * 64}, "of other weights"),
        ({"graph": "d" * 64}, "of the same weights exported otherwise"),
        ({"preprocessing": {"height": 8}}, "of other preprocessing"),
    ],
)
def test_another_network_is_refused(changed, said) -> None:
    key = KEY.model_copy(update=changed)
    with pytest.raises(InputError, match=rf"^mine\.json holds ranges {said}: calibrate anew"):
        ranges().check(key, "auto", AFFINE_UINT8, "mine.json")


def test_another_observer_and_other_codes_are_refused() -> None:
    ranges().check(KEY, "mse", AFFINE_UINT8, "mine.json")
    with pytest.raises(InputError, match="from the observer mse, not entropy"):
        ranges().check(KEY, "entropy", AFFINE_UINT8, "mine.json")
    with pytest.raises(InputError, match="for uint8 codes, not int8"):
        ranges().check(KEY, "auto", SYMMETRIC_INT8, "mine.json")


def edited(**changes) -> str:
    return json.dumps(json.loads(ranges().to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a ranges file"),
        ("[1]", "has the schema 'None'"),
        (b"\xff\xfe", "is not a ranges file"),
        ("[" * 100_000, "is not a ranges file"),
        (edited(schema="visiondeploy.ranges/1"), "has the schema 'visiondeploy.ranges/1'"),
        (edited(ranges={"relu": [1.0, 2.0]}), "is a damaged ranges file: ranges: the range of relu is 1.0 to 2.0"),
        (edited(ranges={"relu": [0.0]}), "is a damaged ranges file: ranges.relu"),
        (edited(channel_scales={"relu": [0.0]}), "is a damaged ranges file: channel_scales.relu.0"),
        (edited(channel_centres={"relu": [1.0]}), "relu has centres of 1 channels, and other scales"),
        (edited(more=1), "is a damaged ranges file: more"),
    ],
)
def test_what_is_no_ranges_file_is_said(text, said) -> None:
    with pytest.raises(InputError, match=r"^mine\.json ") as error:
        parse_ranges(text, "mine.json")
    assert said in str(error.value)


def test_centres_come_back_with_their_scales() -> None:
    written = ranges(channel_scales={"relu": (0.5, 2.0), "conv": (1.0, 0.5)}, channel_centres={"conv": (-3.0, 7.5)})
    read = parse_ranges(written.to_json(), "x")
    assert read == written
    assert read.scales["conv"].tolist() == [[1.0, 0.5], [-3.0, 7.5]]
    assert read.scales["relu"].tolist() == [0.5, 2.0]
    assert "channel_centres" not in ranges().to_json()
