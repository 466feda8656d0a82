"""What metrics are made of, one row of statistics per image and engine, kept beside a report as `samples.safetensors`.

With them two runs on the same images are compared image by image. In the file each engine has an array (n, …) under its
row's name; the metadata have the names of the n images, the digest of the validation split, and the network's
description, which says what the metrics are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.types import Array

FILE = "samples.safetensors"

# 1: names, validation, spec
SCHEMA = "visiondeploy.samples/1"

LARGEST = 1 << 30
"""Bytes that are read: of 10 000 images, 20 classes and 20 engines there are 670 MB."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of statistics (n, …) by row's name, of the n images that `names` names, in that order.

    `validation` is the digest of the split that they are of, `spec` the network's description as JSON.
    """

    names: tuple[str, ...]
    validation: str
    spec: str
    rows: Mapping[str, Array]

    def to_bytes(self) -> bytes:
        """The content of the file."""
        from safetensors.numpy import save

        metadata = {
            "schema": SCHEMA,
            "names": json.dumps(self.names),
            "validation": self.validation,
            "spec": self.spec,
        }
        arrays = {name: np.ascontiguousarray(rows) for name, rows in self.rows.items()}
        content: bytes = save(arrays, metadata)
        return content

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Samples:
        """Read them; `source` is the file's name, for messages. Raises `InputError` where it is something else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            rows: dict[str, Array] = load(data)
            metadata: dict[str, str] = _header(data).get("__metadata__") or {}
            names = tuple(str(name) for name in json.loads(metadata.get("names", "[]")))
        except (SafetensorError, ValueError, TypeError, RecursionError) as error:
            raise _damaged(source, str(error)) from None
        if metadata.get("schema") != SCHEMA or not {"validation", "spec"} <= metadata.keys():
            raise _damaged(source, f"found schema {str(metadata.get('schema'))[:60]!r}, expected {SCHEMA!r}")
        wrong = sorted(name for name, array in rows.items() if array.ndim < 1 or len(array) != len(names))
        if wrong:
            raise _damaged(source, f"{len(names)} images are named, and {wrong[0]} has another number")
        return cls(names, metadata["validation"], metadata["spec"], rows)

    def chosen(self, names: tuple[str, ...], row: str) -> Array:
        """The statistics of a row for images by name, in the order asked for. Raises `KeyError` for unknown ones."""
        if names == self.names:
            return self.rows[row]
        place = {name: index for index, name in enumerate(self.names)}
        found: Array = self.rows[row][[place[name] for name in names]]
        return found


def _damaged(source: str, how: str) -> InputError:
    return InputError(f"{source} is not what `deploy bench` writes beside a report ({how}): run it again.")


def _header(data: bytes) -> dict[str, Any]:
    """The header of safetensors: its length in the first eight bytes, little-endian, then JSON."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = json.loads(data[8 : 8 + length])
    return found
