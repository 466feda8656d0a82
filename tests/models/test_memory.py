from __future__ import annotations

import os
from pathlib import Path

import pytest

from visiondeploy.models.memory import available_memory


def test_it_is_a_part_of_what_the_machine_has() -> None:
    found = available_memory()
    assert found is not None
    assert 2**20 < found < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB", "MemAvailable:", "MemAvailable: many kB"])
def test_what_the_system_does_not_say_is_no_error(monkeypatch, text) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    found = available_memory()
    assert found is None or found > 0
