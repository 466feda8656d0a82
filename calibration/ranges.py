"""The ranges file: what one network is quantised with, readable, and of no use to another network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visiondeploy.calibration.observers import Code, Range, Target
from visiondeploy.errors import InputError
from visiondeploy.types import Array

# 1: samples, observer, ranges
# 2: what they are of: weights, graph, preprocessing, data, codes; scales of channels
SCHEMA: Literal["visiondeploy.ranges/2"] = "visiondeploy.ranges/2"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class NetworkKey(_Part):
    """What ranges belong to: the weights, the fp32 ONNX file whose tensors they name, and what it is fed.

    `preprocessing` is the network's input: height, width, mean, std.
    """

    weights: Sha256
    graph: Sha256
    preprocessing: dict[str, Any]


class CalibrationData(_Part):
    """The images that were observed: the data set, its split, the digest of the set, and their names."""

    dataset: str
    split: str
    digest: Sha256
    images: tuple[str, ...]


class Ranges(_Part):
    """Ranges of tensors by name, found by an observer for codes of a kind, and the scales of channels before them.

    Of channels that were brought to a level (see `level.py`) there are centres, too.

    `seen` has the smallest and the largest value on the calibration images: what lies outside a range is clipped.
    """

    schema_name: Literal["visiondeploy.ranges/2"] = Field(default=SCHEMA, alias="schema")
    network: NetworkKey
    data: CalibrationData
    observer: str
    codes: Code
    channel_scales: dict[str, tuple[Annotated[float, Field(gt=0)], ...]] = {}
    channel_centres: dict[str, tuple[float, ...]] = {}
    seen: dict[str, tuple[float, float]] = {}
    ranges: dict[str, tuple[float, float]]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for tensor, (low, high) in self.ranges.items():
            if not low <= 0 <= high:
                raise ValueError(f"the range of {tensor} is {low} to {high}, and zero is outside")
        for tensor, centres in self.channel_centres.items():
            if len(centres) != len(self.channel_scales.get(tensor, ())):
                raise ValueError(f"{tensor} has centres of {len(centres)} channels, and other scales")
        return self

    @property
    def by_tensor(self) -> dict[str, Range]:
        """The ranges as the quantiser takes them."""
        return {tensor: Range(low, high) for tensor, (low, high) in self.ranges.items()}

    @property
    def scales(self) -> dict[str, Array]:
        """The scales as `equalise` takes them, float64."""
        found = {tensor: np.asarray(scale, dtype=np.float64) for tensor, scale in self.channel_scales.items()}
        return found | {
            tensor: np.stack([found[tensor], np.asarray(centres, dtype=np.float64)])
            for tensor, centres in self.channel_centres.items()
        }

    def to_json(self) -> str:
        """The file's text: one tensor on a line."""
        content = self.model_dump(mode="json", by_alias=True)
        lists = {name: content.pop(name) for name in ("channel_scales", "channel_centres", "seen", "ranges")}
        if not self.channel_centres:
            # As releases wrote it that did not have them.
            del lists["channel_centres"]
        head = json.dumps(content, indent=1, ensure_ascii=False)
        parts = [
            f' "{name}": {{\n'
            + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
            + "\n }"
            for name, entries in lists.items()
        ]
        return head.removesuffix("\n}") + ",\n" + ",\n".join(parts) + "\n}\n"

    def check(self, key: NetworkKey, observer: str, target: Target, origin: str) -> None:
        """Raise `InputError` where they are of another network, or found otherwise than is asked for."""
        differences = {
            "of other weights": self.network.weights != key.weights,
            "of the same weights exported otherwise": self.network.graph != key.graph,
            "of other preprocessing": self.network.preprocessing != key.preprocessing,
            f"from the observer {self.observer}, not {observer}": observer not in {"auto", self.observer},
            f"for {self.codes} codes, not {target.code}": self.codes != target.code,
        }
        for difference, there in differences.items():
            if there:
                raise InputError(f"{origin} holds ranges {difference}: calibrate anew, without calibration.ranges.")


def parse_ranges(text: bytes | str, origin: str) -> Ranges:
    """Ranges from a file's text; `origin` names it in errors. Raises `InputError`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin} is not a ranges file: {error}; `deploy calibrate` writes one.") from None
    found = content.get("schema") if isinstance(content, Mapping) else None
    if found != SCHEMA:
        raise InputError(f"{origin} has the schema {str(found)[:40]!r}, expected {SCHEMA!r}: calibrate anew.")
    try:
        return Ranges.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{origin} is a damaged ranges file: {where or 'ranges'}: {reason}.") from None
