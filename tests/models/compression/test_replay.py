"""Recorded changes, made again: the same network bit for bit, or one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.compressible import conv, image, made, small, some_of
from kit.networks import spec_of
from torch import nn

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.checkpoint import Network, load_network, new_network, read_spec, save_network
from visiondeploy.models.compression.changes import Change, Pruned, Separated
from visiondeploy.models.compression.dependencies import Dependencies
from visiondeploy.models.compression.replay import prune, replay
from visiondeploy.models.compression.separable import replaceable, separate
from visiondeploy.models.spec import NetworkSpec


def pruned(module: nn.Module, share: float, seed: int = 0) -> Pruned:
    change = Pruned(removed=some_of(Dependencies(module).couplings(), share, seed))
    prune(module, change)
    return change


def separated(module: nn.Module, every: int = 1) -> Separated:
    return separate(module, replaceable(module)[::every], "norm", "svd")


ORDERS = {
    "separable, prune": lambda m: (separated(m), pruned(m, 0.5)),
    "prune, separable": lambda m: (pruned(m, 0.3), separated(m)),
    "prune twice": lambda m: (pruned(m, 0.3), pruned(m, 0.3, seed=1)),
    "separable, prune twice": lambda m: (separated(m), pruned(m, 0.3), pruned(m, 0.5, seed=2)),
    "separable, prune, separable": lambda m: (separated(m, every=2), pruned(m, 0.2), separated(m)),
}


@pytest.fixture
def network() -> Network:
    spec = spec_of("unet").model_copy(update={"options": {"base_width": 8, "depth": 2}})
    return new_network(spec, seed=0)


@pytest.mark.parametrize("order", ORDERS)
class TestEveryOrder:
    def test_comes_back_bit_for_bit(self, order: str, network: Network, tmp_path: Path) -> None:
        changes = ORDERS[order](network.module)
        changed = Network(network.module.eval(), network.spec.model_copy(update={"changes": changes}))
        save_network(changed, tmp_path)
        found = load_network(tmp_path)
        assert found.spec == changed.spec
        assert not found.module.training
        state, expected = found.module.state_dict(), changed.module.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(state[name], expected[name]) for name in expected)
        with torch.inference_mode():
            assert torch.equal(found.module(image()), changed.module(image()))

    def test_is_the_same_on_any_weights(self, order: str, network: Network) -> None:
        """What depends on what follows from the architecture alone; a replay has random weights before it."""
        other = copy.deepcopy(network.module)
        changes = ORDERS[order](network.module)
        for parameter in other.parameters():
            nn.init.zeros_(parameter)
        replay(other, changes)
        shapes = {name: tensor.shape for name, tensor in network.module.state_dict().items()}
        assert {name: tensor.shape for name, tensor in other.state_dict().items()} == shapes

    def test_is_readable_and_nothing_is_pickled(self, order: str, network: Network, tmp_path: Path) -> None:
        changes = ORDERS[order](network.module)
        spec = network.spec.model_copy(update={"changes": changes})
        save_network(Network(network.module, spec), tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "weights.safetensors"]
        text = (tmp_path / "network.json").read_text(encoding="utf-8")
        kinds = [change["kind"] for change in json.loads(text)["changes"]]
        assert kinds == [change.kind for change in changes]
        assert read_spec(tmp_path).changes == changes
        assert NetworkSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_an_unchanged_network_is_described_as_ever(network: Network, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    assert "changes" not in json.loads((tmp_path / "network.json").read_text(encoding="utf-8"))
    assert read_spec(tmp_path).changes == ()


def test_no_change_leaves_the_mode_and_the_weights(network: Network) -> None:
    before = copy.deepcopy(network.module.state_dict())
    network.module.train()
    replay(network.module, ())
    prune(network.module, Pruned(removed={}))
    assert network.module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.module.state_dict().items())


@pytest.mark.parametrize("training", [False, True])
def test_pruning_leaves_the_mode_and_no_gradients(network: Network, training: bool) -> None:
    network.module.train(training)
    pruned_channels = Pruned(removed={"encoder.0.0": (1,)})
    prune(network.module, pruned_channels)
    assert all(layer.training is training for layer in network.module.modules())
    assert all(parameter.grad is None for parameter in network.module.parameters())


DAMAGED: dict[str, tuple[Any, str]] = {
    "channel out of range": ([{"removed": {"encoder.0.0": [8]}}], "'encoder.0.0' has not all of the 1 channels"),
    "channel beyond all numbers": ([{"removed": {"encoder.0.0": [10**30]}}], "has not all of the 1 channels"),
    "all channels": ([{"removed": {"encoder.0.0": list(range(8))}}], "'encoder.0.0' has not all of the 8 channels"),
    "no channel": ([{"removed": {"encoder.0.0": []}}], "'encoder.0.0' has not all of the 0 channels"),
    "a channel twice": ([{"removed": {"encoder.0.0": [1, 1]}}], "channels of 'encoder.0.0' are there twice"),
    "negative": ([{"removed": {"encoder.0.0": [-1]}}], "changes"),
    "half a channel": ([{"removed": {"encoder.0.0": [1.5]}}], "changes"),
    "a norm": ([{"removed": {"encoder.0.1": [1]}}], "'encoder.0.1' has not all of the 1 channels"),
    "a block": ([{"removed": {"encoder": [1]}}], "'encoder' has not all of the 1 channels"),
    "the whole": ([{"removed": {"": [1]}}], "has not all of the 1 channels"),
    "no layer": ([{"removed": {"encoder.9.0": [1]}}], "channels cannot be removed as recorded"),
    "no layer at all": ([{"removed": {"constructor": [1]}}], "channels cannot be removed as recorded"),
    "a tensor": ([{"removed": {"encoder.0.0.weight": [1]}}], "channels cannot be removed as recorded"),
    "the outputs": ([{"removed": {"head": [1]}}], "the channels of 'head' are outputs of the network"),
    "gone before": ([{"removed": {"encoder.0.0": [6, 7]}}, {"removed": {"encoder.0.0": [6]}}], "has not all of the 1"),
    "separable nowhere": ([{"kind": "separable", "layers": ["encoder.9"]}], "'encoder.9' is no dense convolution"),
    "separable twice": ([{"kind": "separable", "layers": ["bottom.0", "bottom.0"]}], "'bottom.0' is no dense conv"),
    "separable again": ([{"kind": "separable", "layers": ["bottom.0"]}] * 2, "'bottom.0' is no dense convolution"),
    "separable 1×1": ([{"kind": "separable", "layers": ["head"]}], "'head' is no dense convolution"),
    "separable none": ([{"kind": "separable", "layers": []}], "changes"),
    "between": ([{"kind": "separable", "layers": ["bottom.0"], "between": "relu"}], "changes"),
    "kind": ([{"kind": "pickle", "layers": ["bottom.0"]}], "changes"),
    "no kind": ([{"kind": None}], "changes"),
    "no list": ("separable", "changes"),
    "unknown key": ([{"removed": {"encoder.0.0": [1]}, "code": "import os"}], "changes"),
    "of other weights": ([{"removed": {"encoder.0.0": [1]}}], "does not fit unet as network.json describes it"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_history_is_one_sentence(case: str, network: Network, tmp_path: Path) -> None:
    changes, said = DAMAGED[case]
    if isinstance(changes, list):
        changes = [{"kind": "prune"} | change for change in changes]
    save_network(network, tmp_path)
    path = tmp_path / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"changes": changes}), encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_network(tmp_path)
    message = str(error.value)
    assert said in message
    assert str(tmp_path) in message
    assert "\n" not in message
    assert len(message) < 600


def grouped() -> nn.Module:
    return small(lambda m, x: m.c(m.b(m.a(x)).relu()), a=conv(3, 8), b=conv(8, 8, groups=2), c=conv(8, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([Pruned(removed={"b": (1,)})], "or without those that go with them in other groups"),
        ([Pruned(removed={"a": (1, 2)})], "or without those that go with them in other groups"),
        ([Pruned(removed={"a": (1, 5), "c": (0,)})], "outputs of the network"),
    ],
)
def test_groups_never_become_uneven(changes: Sequence[Change], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replay(grouped(), changes)


def test_a_depthwise_layer_is_never_asked() -> None:
    """It has the channels of what comes before it, which may be many layers."""
    with pytest.raises(UsageError, match="has not all of the 1 channels"):
        replay(made("unet separable"), [Pruned(removed={"bottom.0": (1,)})])
