"""What a suite may say, and which rows a limit is for."""

from __future__ import annotations

import pytest
from kit.reports import fp16, int8
from kit.suites import suite
from pydantic import ValidationError

from visiondeploy.benchmarks.suite import QUANTITIES, Limit


class TestLimit:
    @pytest.mark.parametrize(
        ("patterns", "matches"),
        [
            ({}, (True, True)),
            ({"precision": "int8"}, (True, False)),
            ({"backend": "onnx*"}, (False, True)),
            ({"rows": "unet-*-openvino"}, (True, False)),
            ({"model": "deeplab*"}, (False, False)),
            ({"backend": "openvino", "precision": "fp*"}, (False, False)),
        ],
    )
    def test_rows_by_pattern(self, patterns, matches) -> None:
        limit = Limit(quantity="miou", max_drop=0.5, **patterns)
        assert (limit.matches(int8()), limit.matches(fp16())) == matches
        assert limit.selector == ", ".join(f'{name} = "{value}"' for name, value in patterns.items())

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, "a limit has one bound of min, max, max_drop, max_rise, max_ratio, max_slowdown, found none"),
            ({"min": 0.5, "max_drop": 1}, "found min and max_drop"),
            ({"min": 0.5, "against": "reference"}, "compares with nothing: leave against away"),
            ({"max_drop": 1, "metric": "miou"}, "metric is for the quantity worst-class"),
            ({"max_slowdown": 5}, "miou is not limited by max_slowdown against base, but by"),
        ],
    )
    def test_one_bound(self, given, words) -> None:
        with pytest.raises(ValidationError, match=words):
            Limit(quantity="miou", **given)

    @pytest.mark.parametrize(
        ("quantity", "given", "words"),
        [
            (
                "p90",
                {"max_slowdown": 5, "against": "reference"},
                "p90 is not limited by max_slowdown against reference",
            ),
            ("speedup", {"max": 5}, "speedup is not limited by max, but by max_slowdown against base"),
            ("agreement", {"max_drop": 5}, "agreement is not limited by max_drop against baseline, but by min"),
            ("off-precision", {"min": 1}, "but by max"),
        ],
    )
    def test_only_what_makes_sense_of_a_quantity(self, quantity, given, words) -> None:
        """Single times of another run are not compared: the machine was another one then."""
        with pytest.raises(ValidationError, match=words):
            Limit(quantity=quantity, **given)

    def test_what_it_compares_with(self) -> None:
        assert Limit(quantity="miou", min=0.5).compared_with is None
        assert Limit(quantity="miou", max_drop=0.5).compared_with == "baseline"
        assert Limit(quantity="miou", max_drop=0.5, against="reference").compared_with == "reference"
        assert Limit(quantity="speedup", max_slowdown=5).compared_with == "base"

    @pytest.mark.parametrize("quantity", QUANTITIES)
    def test_each_bound_of_the_table_can_be_written(self, quantity) -> None:
        for bound, against in QUANTITIES[quantity]:
            limit = Limit(quantity=quantity, against=against, **{bound: 1.5})
            assert (limit.bound, limit.value, limit.compared_with) == (bound, 1.5, against)


class TestSuite:
    def test_what_it_needs(self) -> None:
        found = suite({"quantity": "miou", "max_drop": 1}, {"quantity": "size", "max_rise": 5, "against": "reference"})
        assert not found.timed
        assert found.needs("reference")
        assert not found.needs("base")
        assert suite({"quantity": "p50", "max_ratio": 0.5}).timed

    def test_it_has_limits(self) -> None:
        with pytest.raises(ValidationError, match="limits"):
            suite()
