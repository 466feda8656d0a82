"""Stored references: what they keep, and what they refuse to be compared with."""

from __future__ import annotations

import pytest
from kit.suites import CLASSES, report, row, samples, scores

from visiondeploy.benchmarks.reference import Reference
from visiondeploy.errors import InputError, UsageError

BASE = scores(0.9, 0.7)


def made() -> Reference:
    rows = [row(name, 40.0, scores(0.9, 0.7), BASE) for name in ("one", "base:one")]
    rows[1] = rows[1].model_copy(update={"base": True})
    return Reference.of(report(*rows), samples({"one": BASE}), "0" * 64, CLASSES, "mine", "2026-12-01")


class TestFile:
    def test_comes_back_as_it_was(self) -> None:
        assert Reference.from_json(made().to_json(), "there") == made()

    def test_keeps_no_runs_and_nothing_of_the_base(self) -> None:
        found = made()
        assert [each.name for each in found.rows] == ["unet-fp32-pytorch", "one"]
        assert all(each.latency_ms.raw == () for each in found.rows)
        assert found.rows[1].latency_ms.p50 is not None

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "is not a reference: "),
            ("[]", "is not a reference: found schema 'None'"),
            ('{"schema": "visiondeploy.report/1"}', "found schema 'visiondeploy.report/1'"),
            ('{"schema": "visiondeploy.reference/1"}', "breaks its contract: suite"),
            ("[" * 10**5, "is not a reference"),
        ],
    )
    def test_anything_else_is_one_sentence(self, text, words) -> None:
        with pytest.raises(InputError, match=words) as error:
            Reference.from_json(text, "there")
        assert "\n" not in str(error.value)


class TestCheck:
    def test_other_data_or_classes_are_refused(self) -> None:
        made().check("a" * 64, CLASSES, "there")
        with pytest.raises(UsageError, match="the reference there was measured on other validation data"):
            made().check("b" * 64, CLASSES, "there")
        with pytest.raises(UsageError, match="the reference there is of road, car, and the report of sky"):
            made().check("a" * 64, ("sky",), "there")

    def test_another_machine_is_told_by_what_differs(self) -> None:
        here = made().environment
        assert made().elsewhere(here) is None
        assert made().elsewhere(here.model_copy(update={"kernel": "7.0"})) is None
        assert "threads 2, not 1" in made().elsewhere(here.model_copy(update={"threads": 1}))
