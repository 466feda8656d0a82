from __future__ import annotations

import pytest
from pydantic import ValidationError

from visiondeploy.models.compression.settings import CompressSettings


@pytest.mark.parametrize(
    ("fields", "steps", "label"),
    [
        ({}, (), ""),
        ({"prune": 0.6}, ("prune",), "pruned60"),
        ({"separable": True}, ("separable",), "separable"),
        ({"prune": 0.125, "separable": True}, ("separable", "prune"), "separable-pruned12.5"),
        (
            {"prune": 0.6, "separable": True, "order": ("prune", "separable")},
            ("prune", "separable"),
            "pruned60-separable",
        ),
        ({"prune": 0.6, "rounds": 3}, ("prune", "prune", "prune"), "pruned60"),
        ({"budget": "latency=0.5x"}, ("separable", "prune"), "latency0.5x"),
        ({"budget": "params=0.2x", "separable": False}, ("prune",), "params0.2x"),
        ({"separable": False}, (), ""),
    ],
)
def test_steps_and_what_the_result_is_called(fields, steps, label) -> None:
    found = CompressSettings(**fields)
    assert found.steps == steps
    assert found.label == label


def test_prune_is_a_budget_of_parameters() -> None:
    limit = CompressSettings(prune=0.6).limit
    assert limit is not None
    assert (limit.kind, round(limit.amount, 9), limit.relative) == ("params", 0.4, True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prune": 0.6, "budget": "params=0.2x"}, "give one of them"),
        ({"prune": 1.0}, "less than 1"),
        ({"prune": -0.1}, "greater than or equal to 0"),
        ({"budget": "params=2x"}, "allows more"),
        ({"budget": "params=0.2x", "order": ("prune", "separable")}, "layers are replaced before"),
        ({"order": ("prune", "prune")}, "names a step twice"),
        ({"prune": 0.5, "order": ("separable",)}, "order leaves out prune"),
        ({"separable": True, "order": ("prune",)}, "order leaves out separable"),
        ({"budget": "latency=0.5x", "order": ("separable",)}, "order leaves out prune"),
        ({"rounds": 0}, "greater than or equal to 1"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, said) -> None:
    with pytest.raises(ValidationError, match=said):
        CompressSettings(**fields)


def test_layers_are_kept_by_pattern() -> None:
    found = CompressSettings(keep=("head", "encoder.0.*"))
    assert [found.keeps(name) for name in ("head", "encoder.0.3", "encoder.1.0")] == [True, True, False]


def test_a_layer_that_is_kept_is_kept_in_its_halves_too() -> None:
    found = CompressSettings(keep=("encoder.1.0",))
    assert [found.keeps(f"encoder.1.0{part}") for part in ("", ".depthwise", "1")] == [True, True, False]
