"""How a process was started: alone or by torchrun."""

from __future__ import annotations

import pytest

from visiondeploy.errors import UsageError
from visiondeploy.models.launch import Launch, launched

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def start(monkeypatch, *values: str | None) -> None:
    for name, value in zip(NAMES, values, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize("values", [(None, None, None), ("1", "2", None), ("x", None, None)])
def test_without_torchrun_there_is_one_process_whatever_a_cluster_sets(monkeypatch, values) -> None:
    start(monkeypatch, *values)
    assert launched() == Launch(0, 1)


def test_torchrun_says_which_of_how_many(monkeypatch) -> None:
    start(monkeypatch, "3", "4", "1")
    assert launched() == Launch(3, 4)


@pytest.mark.parametrize(
    "values", [("x", "2", "0"), (None, "2", "0"), ("0", None, "0"), ("2", "2", "0"), ("0", "2", "")]
)
def test_anything_else_is_refused(monkeypatch, values) -> None:
    start(monkeypatch, *values)
    with pytest.raises(UsageError, match="is no process of torchrun"):
        launched()
