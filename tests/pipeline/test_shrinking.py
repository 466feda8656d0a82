"""Steps of compression: what each may cost, tries under a budget of latency, and going on after an interruption.

No engine is made or timed: a `Clock` says what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit.builds import House, Recorder, toy

from visiondeploy.errors import EnvironmentMismatch, GateFailed
from visiondeploy.models.checkpoint import load_network
from visiondeploy.models.compression.shapes import shape_of
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.ledger import Ledger
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.shrinking import TRIES, Shrinking, next_aim, variant_name
from visiondeploy.pipeline.stages import compress
from visiondeploy.pipeline.store import Artifact, Store
from visiondeploy.pipeline.trial import Made, Trial
from visiondeploy.pipeline.walk import Walk

SMALL = ("compress.multiple=1", "compress.images=4", "finetune.steps=2", "finetune.batch_size=2", "finetune.workers=0")


@dataclass(frozen=True)
class Clock(Trial):
    """Measures what it is told, in turn; layers take as long as their work, depthwise ones some times that."""

    shares: list[float] = field(default_factory=list)
    depthwise: float = 1.0
    asked: list[str] = field(default_factory=list)

    def engine(self, name: str, network: Artifact) -> Any:
        self.asked.append(name)
        return network

    def share(self, name: str, dense: Any, changed: Any) -> Mapping[str, Any]:
        share = self.shares.pop(0) if dense is not changed else 1.0
        return {"share": share, "share_ci95": [share, share], "dense_ms": 40.0, "changed_ms": 20.0}

    def times(self, shapes: list[dict[str, Any]]) -> list[float]:
        found = [shape_of(shape) for shape in shapes]
        single = [shape.depthwise or shape.in_channels == shape.out_channels == 1 for shape in found]
        return [shape.macs * (self.depthwise if one else 1.0) for shape, one in zip(found, single, strict=True)]


@dataclass
class Shrunk:
    """What the steps made, and what was seen of them."""

    made: list[Made]
    sized: Mapping[str, Any]
    events: Recorder

    def cost(self, key: str) -> list[float]:
        """Of each variant, over the uncompressed network's."""
        return [one.costs[key] / self.sized[key] for one in self.made]


def shrink(house: House, *overrides: str, **clock: Any) -> Shrunk:
    """Take the steps; with words for a clock under one."""
    events = Recorder()
    ledger = Ledger(Plan(toy("backend=onnxruntime", *SMALL, *overrides)), Store(house.store), events)
    trial = Clock(ledger, BACKENDS["onnxruntime"], **clock) if clock else None
    shrinking = Shrinking(ledger, Walk(ledger).network(), trial)
    return Shrunk(shrinking.steps(), shrinking.sized, events)


class TestWhatStepsMayCost:
    def test_prune_is_a_share_of_what_it_finds(self, room) -> None:
        found = shrink(room, "compress.prune=0.5", "compress.separable=true")
        _, separable, pruned = found.cost("parameters")
        assert separable < 0.5
        assert 0.8 * 0.5 * separable < pruned <= 0.5 * separable

    def test_rounds_take_the_same_share_each(self, room) -> None:
        found = shrink(room, "compress.prune=0.75", "compress.rounds=2")
        assert [one.name for one in found.made] == ["dense", "pruned-1", "pruned-2"]
        assert found.cost("parameters") == pytest.approx([1, 0.5, 0.25], rel=0.1)

    def test_in_the_other_order_what_was_pruned_is_replaced(self, room) -> None:
        found = shrink(room, "compress.prune=0.3", "compress.separable=true", 'compress.order=["prune", "separable"]')
        assert [one.name for one in found.made] == ["dense", "pruned", "pruned-separable"]
        network = load_network(found.made[-1].tuned.folder)
        assert [change.kind for change in network.spec.changes] == ["prune", "separable"]

    @pytest.mark.parametrize(("budget", "key"), [("params=0.3x", "parameters"), ("macs=0.3x", "macs")])
    def test_a_budget_is_of_the_uncompressed_network_and_is_held(self, room, budget, key) -> None:
        found = shrink(room, f"compress.budget={budget}", "compress.rounds=2", "finetune.steps=0")
        assert found.cost(key)[-1] <= 0.3
        whole = load_network(found.made[-1].tuned.folder)
        if key == "parameters":
            assert sum(p.numel() for p in whole.module.parameters()) == found.made[-1].tuned.meta[key]

    def test_a_budget_that_is_held_already_changes_nothing(self, room) -> None:
        found = shrink(room, "compress.budget=params=1x", "finetune.steps=0")
        assert [one.name for one in found.made] == ["dense"]
        assert "nothing is changed, since the network costs no more than it may" in found.events.told[-1]

    def test_a_budget_out_of_reach_says_how_far_it_comes(self, room) -> None:
        words = r"0\.001 of what the network costs may be left, and the least that can be made of it costs 0\.\d+\."
        with pytest.raises(GateFailed, match=words) as error:
            shrink(room, "compress.budget=params=0.001x")
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 1

    def test_kept_layers_stay_as_they_are(self, room) -> None:
        given = ('compress.keep=["encoder.*"]', "finetune.steps=0")
        found = shrink(room, "compress.prune=0.3", "compress.separable=true", *given)
        changes = load_network(found.made[-1].tuned.folder).spec.changes
        touched = [*changes[0].layers, *changes[1].removed]
        assert touched
        assert not [name for name in touched if name.startswith("encoder.")]


class TestLatency:
    PRUNE = ("compress.budget=latency=0.5x", "compress.separable=false", "finetune.steps=0")

    def test_what_is_too_slow_is_pruned_further(self, room) -> None:
        found = shrink(room, *self.PRUNE, shares=[0.8, 0.6, 0.49])
        said = [line for line in found.events.told if "pruned further" in line]
        assert len(said) == 2
        assert said[0] == "the table of times said 0.490, measured are 0.800: pruned further"
        # Times are the work.
        second = next_aim([(0.49, 0.8)], 0.49)
        assert found.cost("macs")[-1] <= next_aim([(0.49, 0.8), (second, 0.6)], 0.49)
        assert found.events.started.count("compress: pruned") == 3

    def test_what_is_fast_enough_is_not(self, room) -> None:
        found = shrink(room, *self.PRUNE, shares=[0.5])
        assert 0.4 < found.cost("macs")[-1] <= 0.5
        assert found.events.started.count("compress: pruned") == 1

    def test_it_is_given_up_after_some_tries(self, room) -> None:
        words = (
            f"the budget latency=0.5x is not held after {TRIES} tries: the engine takes up to 0.52 of the uncompressed "
        )
        with pytest.raises(GateFailed, match=words) as error:
            shrink(room, *self.PRUNE, shares=[0.52] * TRIES)
        assert error.value.exit_code == 1

    def test_milliseconds_are_a_share_of_what_was_measured(self, room) -> None:
        given = ("compress.budget=latency=20ms", *self.PRUNE[1:])
        assert 0.4 < shrink(room, *given, shares=[0.4]).cost("macs")[-1] <= 0.5

    def test_layers_are_replaced_where_that_is_faster(self, room) -> None:
        given = ("compress.budget=latency=0.2x", "finetune.steps=0")
        fast = shrink(room, *given, shares=[0.1])
        assert load_network(fast.made[-1].tuned.folder).spec.changes[0].kind == "separable"
        slow = shrink(room, *given, shares=[0.1], depthwise=100.0)
        changes = load_network(slow.made[-1].tuned.folder).spec.changes
        assert [change.kind for change in changes] == ["prune"]

    def test_without_a_backend_that_runs_it_cannot_be_measured(self, room) -> None:
        with pytest.raises(EnvironmentMismatch, match="a budget of latency is measured, and no engine"):
            shrink(room, *self.PRUNE)


class TestInterrupted:
    def test_in_the_second_fine_tuning_the_steps_before_are_not_repeated(self, tmp_path, monkeypatch) -> None:
        house = House(tmp_path / "cache", tmp_path)
        given = ("compress.prune=0.3", "compress.separable=true")
        whole, calls = compress.tune, []

        def interrupted(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return whole(*arguments)

        monkeypatch.setattr(compress, "tune", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shrink(house, *given)
        found = shrink(house, *given)
        assert found.events.ran == ["finetune: separable-pruned"]
        assert len(calls) == 3
        again = shrink(house, *given)
        assert again.events.ran == []
        assert [one.tuned.digest for one in again.made] == [one.tuned.digest for one in found.made]

    def test_more_steps_of_fine_tuning_change_no_choice(self, room) -> None:
        given = ("compress.prune=0.3", "compress.seed=5")
        shrink(room, *given)
        assert shrink(room, *given, "finetune.steps=3").events.ran == ["finetune: pruned"]


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (("separable", "prune"), ["separable", "separable-pruned"]),
        (("prune", "prune", "separable"), ["pruned-1", "pruned-2", "pruned-separable-2"]),
        (("separable", "prune", "prune"), ["separable", "separable-pruned-1", "separable-pruned-2"]),
    ],
)
def test_each_variant_has_a_name_of_its_own(steps, names) -> None:
    several = steps.count("prune") > 1
    assert [variant_name(steps[: number + 1], of_several=several) for number in range(len(steps))] == names


def test_the_next_aim_follows_what_was_measured() -> None:
    assert next_aim([], 0.5) == 0.5
    assert next_aim([(0.5, 0.8)], 0.5) == pytest.approx(0.5 * 0.5 / 0.8)
    # A fixed 0.3 of the time is in no layer of the table: found = 0.3 + aimed.
    assert next_aim([(0.5, 0.8), (0.3125, 0.6125)], 0.5) == pytest.approx(0.2)
    # What was measured says nothing of use: a little further, and never less than half.
    assert next_aim([(0.5, 0.8), (0.4, 0.9)], 0.39) < 0.4
    assert next_aim([(0.5, 50.0)], 0.5) == 0.25
