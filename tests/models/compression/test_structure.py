"""What a network costs, foretold before anything is changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from kit.compressible import VARIANTS, channels_of, made
from torch import nn

from visiondeploy.models.compression.allocation import allocate, smallest
from visiondeploy.models.compression.changes import Pruned
from visiondeploy.models.compression.replay import prune
from visiondeploy.models.compression.separable import separate
from visiondeploy.models.compression.structure import Macs, Parameters, Structure, halves, layers_of, structure_of

SIZE = (48, 64)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module: nn.Module) -> int:
    return sum(shape.macs for shape in layers_of(module, SIZE).values())


def ones(structure: Structure) -> dict[str, np.ndarray]:
    return {coupling.root: np.ones(len(coupling.units)) for coupling in structure.couplings}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_and_arithmetic_are_those_of_the_module(name) -> None:
    module = made(name)
    structure = structure_of(module, SIZE)
    assert structure.cost(Parameters(), {}) == parameters(module)
    assert structure.cost(Macs(), {}) == macs(module)
    # The signature of a forward pass is nowhere left.
    assert not any(layer._forward_hooks for layer in module.modules())


@pytest.mark.parametrize("scope", ["global", "layerwise"])
@pytest.mark.parametrize("name", VARIANTS)
def test_what_an_allocation_costs_is_what_the_network_has_then(name, scope) -> None:
    module = made(name)
    structure = structure_of(module, SIZE)
    whole = structure.cost(Parameters(), {})
    found = allocate(structure, ones(structure), Parameters(), 0.4 * whole, 4, scope)
    assert found is not None
    assert found.cost <= 0.4 * whole
    apply(module, structure, found.removed)
    assert parameters(module) == found.cost
    assert macs(module) == structure.cost(Macs(), found.removed)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_replaced_and_narrowed_layers_cost_is_what_the_network_has_then(name) -> None:
    module = made(name)
    structure = structure_of(module, SIZE)
    removed = smallest(structure, 4)
    separated = frozenset(structure.replaceable)
    if separated:
        separate(module, sorted(separated), "none", "svd")
    apply(module, structure, removed, separated)
    assert parameters(module) == structure.cost(Parameters(), removed, separated)
    assert macs(module) == structure.cost(Macs(), removed, separated)


def apply(
    module: nn.Module, structure: Structure, gone: dict[str, int], separated: frozenset[str] = frozenset()
) -> None:
    """Remove the first units of each coupling."""
    removed = {}
    for coupling in structure.couplings:
        root = f"{coupling.root}.pointwise" if coupling.root in separated else coupling.root
        if channels := channels_of(coupling, range(gone[coupling.root])):
            removed[root] = channels
    prune(module, Pruned(removed=removed))


def test_a_norm_between_the_halves_is_counted() -> None:
    module = made("unet")
    structure = structure_of(module, SIZE)
    between = Structure(
        structure.layers, structure.couplings, structure.norms, structure.replaceable, norm_between=True
    )
    chosen = frozenset(structure.replaceable)
    separate(module, sorted(chosen), "norm", "svd")
    assert between.cost(Parameters(), {}, chosen) == parameters(module)


def test_halves_compute_what_the_layer_computes_and_cost_less() -> None:
    shape = structure_of(made("unet"), SIZE).layers["encoder.1.3"]
    depthwise, pointwise = halves("layer", shape).values()
    assert pointwise.output == shape.output
    assert depthwise.depthwise
    assert depthwise.macs + pointwise.macs < shape.macs / 4


def test_a_layer_that_runs_twice_is_one_layer() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    found = layers_of(nn.Sequential(layer, copy.deepcopy(layer), layer), SIZE)
    assert list(found) == ["0", "1"]
