"""`deploy compress` as a user meets it."""

from __future__ import annotations

import json

import pytest
from kit.builds import TOY

OPTIONS = ("--set", "compress.multiple=1", "--set", "compress.images=4", "--set", "finetune.batch_size=2")
SMALL = ("--recipe", str(TOY), "--backend", "onnxruntime", "--finetune", "2", "--set", "finetune.workers=0", *OPTIONS)


def test_it_prints_the_variants_and_where_the_network_lies(room) -> None:
    done = room.deploy("compress", *SMALL, "--prune", "0.5", "--separable")
    assert done.returncode in {0, 1}, done.stderr
    # Which of them is as fast as the one before is for this CPU to say.
    assert any(f"{name} is chosen" in done.stdout for name in ("separable-pruned", "separable", "dense"))
    assert "network-compressed" in done.stderr
    assert "pareto.png" in done.stderr
    assert "finetune: separable-pruned" in done.stderr


def test_json_is_the_report_on_stdout(room) -> None:
    done = room.deploy("compress", *SMALL, "--prune", "0.5", "--separable", "--json")
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["compression"]["variants"]] == ["dense", "separable", "separable-pruned"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "nothing is to be compressed: give --prune, --separable or --budget."),
        (("--no-separable",), "nothing is to be compressed"),
        (("--prune", "1"), "compress.prune"),
        (("--prune", "much"), "'much' is not a valid float"),
        (("--budget", "half"), "'half' is no budget: write latency=0.5x"),
        (("--budget", "latency=20"), "has no unit of latency"),
        (("--prune", "0.5", "--budget", "params=0.2x"), "give one of them"),
        (("--prune", "0.5", "--set", "compress.importance=magnitud"), "did you mean 'magnitude'"),
    ],
)
def test_what_cannot_be_is_one_sentence(room, given, said) -> None:
    done = room.deploy("compress", "--recipe", str(TOY), *given)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_budget_out_of_reach_ends_with_one(room) -> None:
    done = room.deploy("compress", *SMALL, "--budget", "params=0.001x")
    assert done.returncode == 1
    assert "the budget cannot be held" in done.stderr.splitlines()[-1]
