"""The fuzz tells faults from refusals, takes good files, and is the same for the same seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from visiondeploy.benchmarks.experiments.fuzz import Tally, Target, document, execute, fuzz, mutated, targets
from visiondeploy.errors import InputError


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Target]:
    return {one.name: one for one in targets(tmp_path_factory.mktemp("fuzz"))}


NAMES = ("manifest", "recipe", "dataset.toml", "artifact.json", "archive")


def test_the_readers_are_these(readers) -> None:
    assert tuple(readers) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_takes_a_good_file_and_has_no_fault(name, readers) -> None:
    tally = fuzz(readers[name], 150, seed=7)
    assert tally.executions == 150
    assert tally.accepted > 0
    assert tally.faults == {}


def test_mutations_are_the_same_for_the_same_seed_and_hardly_ever_the_seed() -> None:
    seeds = [b'name = "a"\nclasses = ["b", "c"]\n', b"[x]\ny = 1\n"]
    one, other = ([mutated(seeds, rng) for _ in range(200)] for rng in (random.Random(1), random.Random(1)))
    assert one == other
    assert sum(data in seeds for data in one) < 20
    assert len(set(one)) > 150


@pytest.mark.parametrize("data", [b"", b"x"])
def test_empty_seeds_can_be_mutated(data) -> None:
    rng = random.Random(0)
    assert all(isinstance(mutated([data], rng), bytes) for _ in range(500))


def failing(data: bytes) -> object:
    if data == b"refused":
        raise InputError("no such thing.")
    if data == b"fault":
        raise KeyError("x")
    return data


def test_a_fault_is_told_from_a_refusal() -> None:
    target, tally = Target("one", [b"good"], failing), Tally()
    for data in (b"good", b"refused", b"fault", b"fault"):
        execute(target, data, tally)
    assert (tally.executions, tally.accepted, dict(tally.refused)) == (4, 1, {"InputError": 1})
    ((place, example),) = tally.faults.items()
    assert place.startswith(f"KeyError in {Path(__file__).name}")
    assert example == "b'fault'"
    assert "KeyError" in document({"one": tally}, "python fuzz.py")
