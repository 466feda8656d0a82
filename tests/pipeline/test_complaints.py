"""Fields of kinds that later sections bring: each has its sentence without a line in `complaints.py`."""

import json
from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, ValidationError, model_validator

from visiondeploy.pipeline.complaints import Origins, complaint
from visiondeploy.types import Settings


class Profile(Settings):
    low: Annotated[int, Field(ge=1)] = 1
    high: Annotated[int, Field(ge=1)] = 4

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high}): swap them.")
        return self


class Section(Settings):
    schedule: Literal["one-cycle", "cosine"] = "cosine"
    only: Literal["onnx"] = "onnx"
    height: Annotated[int, Field(ge=1)] | None = None
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    power: Annotated[float, Field(gt=0, le=100)] = 1.0
    share: Annotated[float, Field(le=1)] = 1.0
    threads: int | Literal["auto"] = "auto"
    blocks: tuple[str, ...] = ()
    sizes: Annotated[tuple[int, ...], Field(min_length=1, max_length=3)] = (1,)
    label: Annotated[str, Field(min_length=2, max_length=5)] = "ab"
    profile: Profile = Profile()
    other: Profile | None = None


class Root(Settings):
    train: Section = Section()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"schedule": "one_cycle"},
            "schedule is 'one_cycle', expected one of one-cycle, cosine: did you mean 'one-cycle'?",
        ),
        ({"only": "tensorrt"}, "only is 'tensorrt', expected onnx."),
        ({"height": 0}, "height is 0, expected a whole number of at least 1."),
        ({"height": "360"}, "height is '360', expected a whole number of at least 1: write 360, without quotes."),
        ({"decay": 1}, "decay is 1, expected a number of at least 0 and below 1."),
        ({"power": "50%"}, "power is '50%', expected a number above 0 and of at most 100: write 50."),
        ({"share": 2}, "share is 2, expected a number of at most 1."),
        ({"threads": "all"}, "threads is 'all', expected a whole number or auto."),
        ({"threads": 1.5}, "threads is 1.5, expected a whole number or auto."),
        ({"blocks": "down1"}, "blocks is 'down1', expected a list, each text."),
        ({"blocks": ["a", 1]}, 'blocks[1] is 1, expected text: write "1".'),
        ({"sizes": []}, "sizes is [], expected a list of at least 1 and at most 3 values, each a whole number."),
        ({"sizes": [1, 2, 3, 4]}, "sizes is [1, 2, 3, 4], expected a list of at least 1 and at most 3 values"),
        ({"label": "a"}, "label is 'a', expected text of at least 2 and at most 5 characters."),
        ({"profile": {"low": 5}}, "profile: low (5) is above high (4): swap them."),
        ({"profile": {"lo": 5}}, "there is no key 'train.profile.lo': did you mean 'train.profile.low'?"),
        ({"other": {"hihg": 5}}, "there is no key 'train.other.hihg': did you mean 'train.other.high'?"),
        ({"other": 3}, "other is 3, expected a section with the keys low, high."),
    ],
)
def test_sentence(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Root.model_validate_json(json.dumps({"train": values}), strict=True)
    text = str(complaint(Root, caught.value, Origins("mine.toml", {})))
    prefix = "mine.toml: " if expected.startswith("there is") else "mine.toml: train."
    assert text.startswith(prefix + expected)


def test_origin_is_that_of_the_value_or_of_what_is_in_it() -> None:
    origins = Origins("mine.toml", {("train", "profile", "low"): "--set train.profile.low=5", ("a",): "command line"})
    assert origins.of(("train", "profile", "low")) == "--set train.profile.low=5"
    assert origins.of(("train", "profile")) == "--set train.profile.low=5"
    assert origins.of(("train", "height")) == "mine.toml"
    assert origins.of(("a", 3)) == "command line"
    assert origins.of(()) == "mine.toml"
