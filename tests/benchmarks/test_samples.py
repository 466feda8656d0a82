"""Statistics by image in a file, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from visiondeploy.benchmarks.samples import SCHEMA, Samples
from visiondeploy.errors import InputError

names = st.lists(st.text(max_size=20), min_size=1, max_size=9, unique=True)


def made(names: tuple[str, ...] = ("a", "b", "c")) -> Samples:
    n = len(names)
    rows = {"one": np.arange(n * 4, dtype=np.int64).reshape(n, 2, 2), "two": np.full((n, 3), np.nan)}
    return Samples(names, "0" * 64, '{"task": "x"}', rows)


class TestFile:
    @given(names)
    @settings(deadline=None, derandomize=True)
    def test_comes_back_as_it_was(self, names) -> None:
        samples = made(tuple(names))
        found = Samples.from_bytes(samples.to_bytes(), "there")
        assert (found.names, found.validation, found.spec) == (samples.names, samples.validation, samples.spec)
        assert found.rows.keys() == samples.rows.keys()
        for name, rows in samples.rows.items():
            assert np.array_equal(found.rows[name], rows, equal_nan=True)
            assert found.rows[name].dtype == rows.dtype

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "is not what `deploy bench` writes"),
            (b"\x89PNG" * 20, "is not what `deploy bench` writes"),
            (save({"a": np.zeros(2)}), "found schema 'None', expected"),
            (save({"a": np.zeros(2)}, {"schema": "other"}), "found schema 'other'"),
            (save({"a": np.zeros(2)}, {"schema": SCHEMA, "names": "{"}), "is not what"),
            (
                save({"a": np.zeros(2)}, {"schema": SCHEMA, "names": '["x"]', "validation": "", "spec": ""}),
                "1 images are named, and a has another number",
            ),
        ],
    )
    def test_anything_else_is_one_sentence(self, data, words) -> None:
        with pytest.raises(InputError, match=words) as error:
            Samples.from_bytes(data, "there")
        assert "\n" not in str(error.value)

    def test_a_truncated_one(self) -> None:
        with pytest.raises(InputError, match="run it again"):
            Samples.from_bytes(made().to_bytes()[:-9], "there")


class TestChosen:
    def test_in_the_order_asked_for(self) -> None:
        assert made().chosen(("c", "a"), "one").tolist() == [[[8, 9], [10, 11]], [[0, 1], [2, 3]]]
        with pytest.raises(KeyError):
            made().chosen(("d",), "one")
